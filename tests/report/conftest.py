"""A page with something in every part, and a reader of HTML that shares nothing with the code under test."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from fasthash.report import RANDOM, Credit, Curve, History, Hit, Page, Query, Score

VOID = {"meta", "link", "br", "img", "input", "hr"}


@dataclass
class Node:
    """An element: what it is, what it says, what is in it."""

    tag: str
    attrs: dict[str, str | None]
    children: list[Node | str] = field(default_factory=list)

    def raw(self) -> str:
        return "".join(child if isinstance(child, str) else child.raw() for child in self.children)

    def text(self) -> str:
        return " ".join(self.raw().split())

    def walk(self):
        yield self
        for child in self.children:
            if isinstance(child, Node):
                yield from child.walk()

    def find_all(self, tag: str | None = None, kind: str | None = None) -> list[Node]:
        return [n for n in self.walk() if tag in (None, n.tag) and (kind is None or kind in n.kinds)]

    @property
    def kinds(self) -> list[str]:
        return (self.attrs.get("class") or "").split()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("document", {})
        self.open = [self.root]

    def handle_starttag(self, tag, attrs):
        node = Node(tag, dict(attrs))
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag, attrs):
        self.open[-1].children.append(Node(tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data):
        self.open[-1].children.append(data)


@pytest.fixture
def read_html():
    """HTML text -> its tree; fails when an element is closed out of order or not at all."""

    def read(text: str) -> Node:
        reader = _Reader()
        reader.feed(text)
        reader.close()
        assert [node.tag for node in reader.open] == ["document"]
        return reader.root

    return read


@pytest.fixture
def make_picture():
    """A PNG or JPEG file of one colour with one odd pixel."""

    def make(colour=(200, 30, 30), size=(72, 72), form="PNG", mode="RGB") -> bytes:
        image = Image.new(mode, size, colour)
        image.putpixel((1, 1), tuple(255 - c for c in colour))
        buffer = io.BytesIO()
        image.save(buffer, format=form)
        return buffer.getvalue()

    return make


@pytest.fixture
def make_page(make_picture):
    """A page of two methods and random codes at the given lengths; keywords replace its parts."""

    def make(bits=(64,), **parts) -> Page:
        methods = ("djsrh", "dcmh")
        red, blue = make_picture(), make_picture((30, 30, 200))
        recall = np.linspace(0.01, 1, 65)
        curves = {
            side: [Curve(m, recall, 0.1 + 0.8 * (1 - recall) * s, method=m, bits=b) for b in bits
                   for m, s in (("djsrh", 0.5), ("dcmh", 1.0), (RANDOM, 0.0))]
            for side in ("i2t", "t2i")
        }  # fmt: skip
        scores = [Score(m, b, v + b / 1000, v + 0.01, seconds=41.0, note=n) for b in bits
                  for m, v, n in (("djsrh", 0.41, "unsupervised"), ("dcmh", 0.72, "supervised"))]  # fmt: skip
        scores += [Score(RANDOM, b, 0.0912, 0.0907) for b in bits]
        epochs = np.arange(1, 11)
        histories = [History(f"{m}, {b} bits", epochs, 5.0 / epochs, epochs[4::5], [0.3, 0.4], [0.35, 0.45], m, b)
                     for m in methods for b in bits]  # fmt: skip
        hits = [Hit(red, "red heart", "Symbols > heart", 0, True), Hit(blue, "blue car", "Travel > car", 1, False),
                Hit(red, "old heart", "Symbols > heart", 7, None)]  # fmt: skip
        names = [Hit(None, "red heart", "Symbols > heart", 2, True), Hit(None, "blue car", "Travel > car", 3, False)]
        queries = [Query("text", "red heart", None, "Symbols > heart", m, b, hits, 41.2) for m in methods for b in bits]
        queries += [Query("image", "a heart", red, "Symbols > heart", m, b, names) for m in methods for b in bits]
        whole = {
            "title": "Emoji, one code", "lead": "Pictures and names.", "facts": [("pairs", "1,644")],
            "scores": scores, "curves": curves, "histories": histories, "queries": queries,
            "credits": [Credit("Twemoji, CC BY 4.0.", "https://github.com/jdecked/twemoji")], "provenance": {"seed": 0},
        }  # fmt: skip
        return Page(**{**whole, **parts})

    return make
