"""The page: what is on it, what cannot get onto it, and how it reaches the disk."""

import base64
import hashlib
import os
import re
import stat
import subprocess
import sys

import numpy as np
import pytest

from fasthash.report import RANDOM, Credit, Curve, History, Hit, Page, Query, Score, render_page, write_page

HOSTILE = [
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "' onmouseover='alert(1)", "</style><b>",
    "{{ 7 * 7 }}",
    "</script><script>alert(2)</script>", "&lt;script&gt;", "-->", "心臓 ❤ \u202e", "javascript:alert(1)", "$x$ \\frac",
]  # fmt: skip


def hostile_page(bad, picture, link="https://example.org/"):
    hits = [Hit(picture, bad, bad, 1, True), Hit(None, bad, bad, 2, False)]
    curve = Curve(bad, [0.1, 1], [1, 0.1], bad, 64)
    return Page(
        bad, bad, [(bad, bad)], [Score(bad, 64, 0.5, 0.5, 1.0, bad)], {"i2t": [curve], "t2i": [curve]},
        [History(bad, [1, 2], [2, 1], [1, 2], [0.1, 0.2], [0.1, 0.2], bad, 64)],
        [Query("text", bad, None, bad, bad, 64, hits, 4.0, bad), Query("image", bad, picture, bad, bad, 64, hits)],
        [Credit(bad, link)], {bad: bad},
    )  # fmt: skip


def shape(root):
    """The tree without texts: tags and the names of attributes."""
    return [(node.tag, sorted(node.attrs)) for node in root.walk()]


@pytest.mark.parametrize("bad", HOSTILE)
def test_hostile_texts_are_only_texts(bad, make_picture, read_html):
    root = read_html(render_page(hostile_page(bad, make_picture())))
    # A harmless word of the same length in the same places gives the same elements and attributes.
    tame = read_html(render_page(hostile_page("x" * len(bad), make_picture())))
    assert [one for one in shape(root) if one[0] not in ("path", "g", "text")] == [
        one for one in shape(tame) if one[0] not in ("path", "g", "text")
    ]
    words = " ".join(bad.split())
    assert root.find_all("h1")[0].text() == root.find_all("title")[0].text() == words
    assert len([node for node in root.find_all("span", "text") if node.text() == words]) == 4
    assert not [key for node in root.walk() for key in node.attrs if key.startswith("on")]
    assert len(root.find_all("script")) == 1


def test_a_link_cannot_leave_its_attribute(make_picture, read_html):
    link = "https://example.org/?a=1&b='\"><script>alert(1)</script>"
    root = read_html(render_page(hostile_page("x", make_picture(), link)))
    assert root.find_all("footer")[0].find_all("a")[0].attrs["href"] == link
    assert len(root.find_all("script")) == 1


def test_nothing_is_loaded_from_outside(make_page, read_html):
    text = render_page(make_page())
    root = read_html(text)
    links = [node.attrs["href"] for node in root.find_all("a")]
    assert [link for link in links if not link.startswith("#")] == ["https://github.com/jdecked/twemoji"]
    for node in root.walk():
        for key in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
            if node.tag != "a" and key in node.attrs:
                assert node.attrs[key].startswith(("#", "data:")), (node.tag, node.attrs[key])
    assert not {node.tag for node in root.walk()} & {"iframe", "object", "embed", "base", "form", "img"}
    assert "@import" not in text
    assert set(re.findall(r"url\((.)", text)) <= {"#"}
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) == {"https://github.com/jdecked/twemoji"}


def test_policy_lets_only_the_pages_own_script_run(make_page, read_html):
    root = read_html(render_page(make_page()))
    policy = next(node.attrs["content"] for node in root.find_all("meta") if "http-equiv" in node.attrs)
    (script,) = root.find_all("script")
    digest = base64.b64encode(hashlib.sha256("".join(script.children).encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert "default-src 'none'" in policy


def test_every_link_inside_the_page_has_its_end(make_page, read_html):
    root = read_html(render_page(make_page((16, 64))))
    ids = [node.attrs["id"] for node in root.walk() if "id" in node.attrs]
    assert len(ids) == len(set(ids))
    inside = {v[1:] for node in root.walk() for k, v in node.attrs.items() if k == "href" and v.startswith("#")}
    assert inside <= set(ids)
    assert {"p0", "p1", "tick", "cross"} <= inside


def test_numbers_in_the_table_are_those_given(make_page, read_html):
    page = make_page((16, 64))
    root = read_html(render_page(page))
    shown = []
    for row in root.find_all("table", "scores")[0].find_all("tbody")[0].find_all("tr"):
        bits, i2t, t2i, time = (cell.text() for cell in row.find_all("td"))
        shown.append(
            (row.find_all("th")[0].text(), int(bits), i2t, t2i, time, [s.text() for s in row.find_all("strong")])
        )
        keys = [float(cell.attrs["data-key"]) for cell in row.find_all("td", "score")]
        widths = [bar.attrs["style"] for bar in row.find_all("i")]
        assert [f"width:{100 * key:.2f}%" for key in keys] == [width.split(";")[0] for width in widths]
    assert shown == [
        ("djsrh unsupervised", 16, "0.426", "0.420", "41 s", []),
        ("dcmh supervised", 16, "0.736", "0.730", "41 s", ["0.736", "0.730"]),
        (RANDOM, 16, "0.091", "0.091", "–", []),
        ("djsrh unsupervised", 64, "0.474", "0.420", "41 s", []),
        ("dcmh supervised", 64, "0.784", "0.730", "41 s", ["0.784", "0.730"]),
        (RANDOM, 64, "0.091", "0.091", "–", []),
    ]


def test_every_hit_is_there_with_its_mark(make_page, read_html):
    root = read_html(render_page(make_page()))
    queries = root.find_all("article", "query")
    assert [query.find_all("h3")[0].text() for query in queries] == ["“red heart”", "a heart"]
    for query in queries:
        answers = query.find_all("section", "answer")
        assert [answer.find_all("h4")[0].text() for answer in answers] == ["djsrh 64 bits", "dcmh 64 bits"]
    words = {"yes": ["relevant"], "no": ["not relevant"], "unknown": []}
    for answer in queries[0].find_all("section", "answer"):
        hits = answer.find_all("li", "hit")
        assert [hit.kinds[1] for hit in hits] == ["yes", "no", "unknown"]
        assert [hit.find_all("span", "distance")[0].text() for hit in hits] == [
            "0 bits apart",
            "1 bit apart",
            "7 bits apart",
        ]
        assert [hit.find_all("svg", "picture")[0].attrs["aria-label"] for hit in hits] == [
            "red heart",
            "blue car",
            "old heart",
        ]
        assert [hit.find_all("svg", "picture")[0].find_all("use")[0].attrs["href"] for hit in hits] == [
            "#p0",
            "#p1",
            "#p0",
        ]
        assert [hit.find_all("span", "label")[0].text() for hit in hits] == [
            "Symbols > heart",
            "Travel > car",
            "Symbols > heart",
        ]
        for hit in hits:
            assert [mark.text() for mark in hit.find_all("span", "mark")] == words[hit.kinds[1]]
        assert answer.find_all("header")[0].find_all("p")[0].text() == "1 of 2 relevant · found in 41 µs"
    assert [hit.kinds[1] for hit in queries[1].find_all("li", "hit")] == ["yes", "no"] * 2
    assert not queries[1].find_all("ol", "pictured")


def test_a_note_common_to_all_answers_is_said_once(read_html):
    def notes(*texts):
        queries = [Query("text", "a", None, "", m, 64, [], note=text) for m, text in zip("xyz", texts, strict=False)]
        root = read_html(render_page(Page("x", queries=queries)))
        return [node.text() for node in root.find_all("article", "query")[0].find_all("p", "note")]

    assert notes("same", "same") == ["same"]
    assert notes("one", "two") == ["one", "two"]
    assert notes("one", "") == ["one"]
    assert notes("") == []


def test_curves_have_their_numbers(read_html):
    curve = Curve("dcmh", [0.05, 0.25, 0.5, 0.95], [0.9, 0.8, 0.5, 0.2], bits=64)
    root = read_html(render_page(Page("x", curves={"i2t": [curve]})))
    (values,) = root.find_all("table", "values")
    cells = {row.find_all("th")[0].text(): row.find_all("td")[0].text() for row in values.find_all("tr")[1:]}
    assert cells == {
        "0.1": "0.800", "0.2": "0.800", "0.3": "0.500", "0.4": "0.500", "0.5": "0.500", "0.6": "0.200", "0.7": "0.200",
        "0.8": "0.200", "0.9": "0.200", "1.0": "–",
    }  # fmt: skip
    (figure,) = root.find_all("svg", "figure")
    assert figure.attrs["aria-label"] == "Precision against recall, image → text: dcmh from 0.90 to 0.20."


def test_one_figure_for_each_side_and_length(make_page, read_html):
    root = read_html(render_page(make_page((16, 64))))
    panels = root.find_all("div", "panel")
    assert [panel.attrs["data-bits"] for panel in panels] == ["16", "64"]
    assert [len(panel.find_all("svg", "figure")) for panel in panels] == [2, 2]
    assert len(root.find_all("figure", "run")) == 4
    assert {panel.find_all("ul", "legend")[0].text() for panel in panels} == {f"djsrhdcmh{RANDOM}"}


def test_training_in_words(read_html):
    history = History("dcmh", [1, 2, 3], [3.0, np.nan, 0.5], [2, 3], [0.5, 0.4], [0.5, 0.45])
    root = read_html(render_page(Page("x", histories=[history])))
    (words,) = root.find_all("figure", "run")[0].find_all("p")
    assert words.text() == (
        "Loss 3 → 0.5 in 3 epochs, not finite in 1 of them. mAP at epoch 3: image → text 0.400, text → image 0.450."
    )


def test_parts_without_content_are_left_out(read_html, make_page):
    root = read_html(render_page(Page("Nothing yet")))
    assert [node.text() for node in root.find_all("p", "empty")] == ["There is nothing to show yet."]
    assert not root.find_all("section")
    assert not root.find_all("svg", "figure")
    assert not root.find_all("fieldset")
    root = read_html(render_page(make_page(queries=(), missing=["No pictures here.", "No trees."])))
    assert [link.text() for link in root.find_all("nav")[0].find_all("a")] == ["Scores", "Curves", "Training"]
    assert [node.text() for node in root.find_all("p", "absent")] == ["No pictures here.", "No trees."]


def test_half_empty_parts(read_html):
    histories = [History("none", [], [], [], [], []), History("loss", [1], [2.0], [], [], []),
                 History("map", [], [], [1], [0.1], [0.2]), History("nan", [1], [np.nan], [], [], [])]  # fmt: skip
    page = Page("x", queries=[Query("text", "a", None, "", "dcmh", 64, [])], histories=histories)
    root = read_html(render_page(page))
    assert root.find_all("section", "answer")[0].find_all("p", "empty")[0].text() == "Nothing was found."
    assert [len(run.find_all("svg", "figure")) for run in root.find_all("figure", "run")] == [0, 1, 1, 1]
    runs = [run.find_all("p")[0].text() for run in root.find_all("figure", "run")]
    assert runs[0] == "No epoch was recorded."
    assert runs[3] == "The loss was not finite in any of 1 epoch."


def test_choices_only_where_there_is_something_to_choose(make_page, read_html):
    def offered(page):
        fields = read_html(render_page(page)).find_all("fieldset", "choice")
        return [(f.attrs["data-choice"], [i.attrs["value"] for i in f.find_all("input")]) for f in fields]

    assert offered(make_page((64,))) == [("method", ["", "djsrh", "dcmh"])]
    lengths = ("bits", ["16", "64"])
    assert offered(make_page((64, 16))) == [("method", ["", "djsrh", "dcmh"]), lengths, lengths, lengths]


def test_the_same_page_is_the_same_bytes(make_page, tmp_path):
    first, second = (write_page(make_page((16, 64)), tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == second


def test_another_process_gives_the_same_bytes(tmp_path):
    code = (
        "from fasthash.report import *; import sys;"
        "c = [Curve(n, [0.1, 0.5, 1], [0.9, 0.5, 0.1]) for n in ('a', 'b', 'c')];"
        "h = History('a', [1, 2], [2, 1], [2], [0.5], [0.5]);"
        "write_page(Page('x', curves={'i2t': c}, histories=[h]), sys.argv[1])"
    )
    pages = []
    for seed in ("1", "2"):
        path = tmp_path / f"{seed}.html"
        subprocess.run([sys.executable, "-c", code, str(path)], check=True, env={**os.environ, "PYTHONHASHSEED": seed})
        pages.append(path.read_bytes())
    assert pages[0] == pages[1]


def test_writing_makes_the_folder_and_replaces(make_page, tmp_path):
    path = tmp_path / "new" / "deeper" / "page.html"
    assert write_page(Page("first"), path) == path
    write_page(Page("second"), str(path))
    assert "<title>second</title>" in path.read_text("utf-8")
    assert os.listdir(path.parent) == ["page.html"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask  # readable by whoever may read files here


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_failed_write_leaves_the_old_page(step, tmp_path, monkeypatch):
    path = write_page(Page("old"), tmp_path / "page.html")
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        write_page(Page("new"), path)
    assert os.listdir(tmp_path) == ["page.html"]
    assert path.read_bytes() == before


def test_a_page_that_cannot_be_rendered_writes_nothing(tmp_path):
    broken = Hit(b"\x89PNG\r\n\x1a\nrubbish", "x", "", 0)
    with pytest.raises(ValueError, match="readable PNG or JPEG"):
        write_page(
            Page("x", queries=[Query("text", "a", None, "", "dcmh", 8, [broken])]), tmp_path / "new" / "page.html"
        )
    assert not list(tmp_path.iterdir())


def test_paths_that_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="write_page: path must be a file, got the folder"):
        write_page(Page("x"), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="must be a folder, but a file of that name is in the way"):
        write_page(Page("x"), tmp_path / "file" / "page.html")
    with pytest.raises(TypeError, match="render_page: page must be a Page, got str"):
        render_page("x")


@pytest.mark.parametrize("package", ["jinja2", "matplotlib", "PIL"])
def test_a_missing_package_names_the_extra(package, make_page, monkeypatch):
    page = make_page()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RuntimeError, match=r"pip install 'fasthash\[report\]'") as caught:
        render_page(page)
    assert "\n" not in str(caught.value)


def test_many_pictures_stay_small(make_picture):
    rng = np.random.default_rng(0)
    pictures = [make_picture(tuple(int(c) for c in rng.integers(0, 255, 3)), size=(400, 300)) for _ in range(60)]
    hits = [Hit(picture, "x", "", 0, True) for picture in pictures]
    queries = [Query("text", f"query {k}", None, "", m, b, hits) for k in range(4) for m in "ab" for b in (16, 32, 64)]
    assert len(render_page(Page("x", queries=queries)).encode()) < 2_000_000
