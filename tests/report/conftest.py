"""A page with something in every part, and a reader of HTML that shares nothing with the code under test."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from fasthash import data as datasets
from fasthash.data import PairedDataset
from fasthash.features import Picture
from fasthash.report import (
    RANDOM,
    AtRank,
    Categories,
    Category,
    CodeMap,
    Codes,
    Credit,
    Curve,
    Distances,
    History,
    Hit,
    Measure,
    Page,
    Query,
    Score,
)
from fasthash.report.comparison import Comparison, DataPart, Goal, Grid, GridRow, Model, Part, Searches, Value

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


@pytest.fixture(scope="session")
def make_picture():
    """A PNG or JPEG file of one colour with one odd pixel."""

    def make(colour=(200, 30, 30), size=(72, 72), form="PNG", mode="RGB") -> bytes:
        image = Image.new(mode, size, colour)
        image.putpixel((1, 1), tuple(255 - c for c in colour))
        buffer = io.BytesIO()
        image.save(buffer, format=form)
        return buffer.getvalue()

    return make


@pytest.fixture(scope="session")
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


def both(value):
    return {"i2t": value, "t2i": value}


def grouped_queries(make_picture):
    """Queries of three groups in both directions; those drawn at random are answered twice."""
    hits = [Hit(make_picture(), "red heart", "Symbols > heart", 0, True), Hit(None, "car", "Travel > car", 9, False)]
    found = []
    for kind, picture in (("image", make_picture()), ("text", None)):
        for group, scopes in (("Drawn at random", ("Whole database", "One item of each")), ("Best", ""), ("Worst", "")):
            for scope in scopes or ("",):
                query = Query(kind, f"{group} {kind}", picture, "Symbols > heart", "dcmh", 64, hits, group=group)
                found.append(replace(query, scope=scope, note=f"note of {scope or group}"))
    return found


def small_map(n=60):
    rng = np.random.default_rng(0)
    x, y, at = rng.normal(size=n), rng.normal(size=n), np.arange(n)
    return CodeMap(x, y, at % 2, at % 5 == 0, at % 3, ["Apparel", "Shoes", "other"], "t-SNE of 60 codes.")


@pytest.fixture(scope="session")
def make_run_page(make_page, make_picture):
    """The page of one run, with every part; keywords replace its parts."""

    def make(**parts) -> Page:
        recall, ranks = np.linspace(0.05, 1, 20), np.unique(np.geomspace(1, 500, 20).round())
        curves = [Curve("dcmh", recall, 1 - 0.8 * recall, bits=64), Curve(RANDOM, recall, np.full(20, 0.1), bits=64)]
        at = [AtRank("dcmh", ranks, 1 / (1 + np.arange(len(ranks))), bits=64)]
        layers = [
            Categories("masterCategory", [Category("Apparel", 30, 0.8, 0.7), Category("Shoes", 20, 0.6, 0.9)]),
            Categories("articleType", [Category(f"type {k}", k + 1, k / 40, 1 - k / 40) for k in range(40)]),
        ]
        bell = [100 * np.exp(-0.5 * ((np.arange(65) - middle) / 5) ** 2) for middle in (15, 32)]
        whole = {
            "title": "dcmh on emoji, 64 bits", "scores": (), "queries": grouped_queries(make_picture),
            "curves": both(curves), "curves_by_rank": both(curves), "precision_at": both(at), "recall_at": both(at),
            "categories": layers, "code_map": small_map(), "missing": ["No trees here."],
            "measures": [Measure("mAP", 0.6, 0.5, (0.1, 0.1), "ties in expectation"), Measure("nDCG", 0.9, 0.95)],
            "codes": [Codes("Image codes", "Every bit says something.", np.linspace(0.2, 0.8, 64)),
                      Codes("Text codes", "Half of the bits are dead.", np.repeat([0.0, 0.5], 32), True)],
            "distances": both(Distances(*(counts.round() for counts in bell))), "histories": make_page().histories[:1],
        }  # fmt: skip
        return make_page(**{**whole, **parts})

    return make


@pytest.fixture(scope="session")
def make_comparison(make_picture):
    """A comparison of four rows at two lengths, with the curves and the searches of two of them."""

    def curves(level: float, bits: int) -> dict:
        at = np.arange(bits + 1)
        one = {
            "map_all": level,
            "by_radius": {"radius": at.tolist(), "precision": np.linspace(1, level / 3, bits + 1).tolist(),
                          "recall": np.linspace(0, 1, bits + 1).tolist(), "retrieved": at.tolist()},
            "by_rank": {"n": [1, 10, 100], "precision": [level, level / 2, level / 4], "recall": [0.01, 0.2, 0.9]},
            "distances": {"distance": at.tolist(), "relevant": at[::-1].tolist(), "irrelevant": at.tolist()},
            "categories": [{"layer": "kind", "name": n, "queries": q, "map": level * f}
                           for n, q, f in (("hats", 10, 1.0), ("shoes", 20, 0.5))],
        }  # fmt: skip
        history = {"epochs": [1, 2, 3], "loss": [3.0, 2.0, 1.0], "map_epochs": [3], "i2t": [level], "t2i": [level]}
        return {"directions": {"i2t": one, "t2i": one}, "history": history}

    def make(**parts) -> Comparison:
        def row(name, level, **more):
            values = {(b, d): Value(level + b / 1000 + (d == "t2i") / 100, 0.004, name == "dcmh")
                      for b in (16, 64) for d in ("i2t", "t2i")}  # fmt: skip
            return GridRow(name, **{"values": values, "seconds": 41.0, "megabytes": 640.0, **more})

        real = {(b, d): Value(0.9) for b in (16, 64) for d in ("i2t", "t2i")}
        rows = [row("dcmh", 0.7), row("djsrh", 0.4, note="1 of 3 runs failed"), row("lost", 0, values={})]
        models = [
            Model("wiki", name, bits, 0, curves(level, bits))
            for name, level in (("dcmh", 0.7), ("djsrh", 0.4))
            for bits in (16, 64)
        ]
        long = "nDCG over the whole database, graded by the common layers of the label tree"
        grids = [Grid(m, (16, 64), [*rows, GridRow("ridge", real, reference=True)]) for m in ("mAP over all", long)]
        goal = Goal(
            "wiki", "dcmh, 64 bits, i2t, map_all", "at least 0.7", "0.764", "met by 0.064", "3 of 3 seeds", True
        )
        asked = [replace(query, method=name, scope="", note=f"note of {name}")
                 for query in grouped_queries(make_picture) if query.group != "Best" and query.scope != "Whole database"
                 for name in ("dcmh", "djsrh", "nobody")]  # fmt: skip
        searches = Searches(asked, "Drawn with seed 0.", [Credit("Pictures: their makers.")])
        data = DataPart("wiki", "693 queries.", [Part("", grids, "compare_wiki")], searches)
        whole = {"lead": "One protocol.", "facts": [("runs", 12)], "rule": "Bold: rule.", "goals": [goal],
                 "models": models, "data": [data],
                 "provenance": {"command": "fasthash compare dcmh djsrh"}}  # fmt: skip
        return Comparison("Methods compared", **{**whole, **parts})

    return make


@pytest.fixture(scope="session")
def shown(tmp_path_factory):
    """A small data set with a label tree, pictures and texts."""
    folder = tmp_path_factory.mktemp("pictures")
    plain = datasets.load("synthetic", pairs=160)
    rng = np.random.default_rng(0)
    for row in range(len(plain)):
        form = "PNG" if row % 2 else "WEBP"  # a WebP file is shown as a JPEG file
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(folder / str(row), form)
    fields = {name: getattr(plain, name) for name in plain.__dataclass_fields__}
    pictures = tuple(Picture(folder / str(row)) for row in range(len(plain)))
    texts = tuple(f"words of {row} " + "and more " * (row % 40) for row in range(len(plain)))
    return PairedDataset(**{**fields, "pictures": pictures, "texts": texts})
