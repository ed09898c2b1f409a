"""The page, the Markdown and the pictures of a comparison: every number is there, once and right."""

import re

import numpy as np
import pytest
from PIL import Image

from fasthash import report
from fasthash.report.comparison import Comparison, DataPart, Goal, Grid, GridRow, Part, Value, memory
from fasthash.report.comparison_plots import comparison_figure, grid_styles

BITS = (16, 64)


def row(name, level, **parts):
    values = {
        (b, d): Value(level + b / 1000 + (d == "t2i") / 100, 0.004, name == "dcmh")
        for b in BITS
        for d in ("i2t", "t2i")
    }
    return GridRow(name, **{"values": values, "seconds": 41.0, "megabytes": 640.0, **parts})


@pytest.fixture
def grid():
    real = {(b, d): Value(0.9) for b in BITS for d in ("i2t", "t2i")}
    rows = [row("dcmh", 0.7), row("djsrh", 0.4, note="1 of 3 runs failed"), row("lost", 0, values={})]
    return Grid("mAP over the whole database", BITS, [*rows, GridRow("ridge", real, reference=True)])


@pytest.fixture
def page(grid):
    part = Part("", [grid, Grid("mAP of the first 50", BITS, grid.rows[:2])], "compare_wiki")
    goals = [
        Goal("wiki", "dcmh, 64 bits, i2t, map_all", "at least 0.700", "0.764", "met by 0.064", "3 of 3 seeds", True),
        Goal("wiki", "djsrh, 64 bits", "at least dcmh", "behind by 0.300", "missed by 0.300", "0 of 3 seeds", False),
        Goal("wiki", "ssah, 64 bits", "at least 0.5", "–", "not measured", "no seed", None),
    ]
    return Comparison(
        "Methods | compared", "One protocol.", [("runs", 12)], [DataPart("wiki", "693 queries.", [part])],
        "Bold: rule.", goals, [("lost, 16 bits", "loss <is> nan")],
        {"command": "fasthash compare 'a[b=1]'", "seeds": "0, 1, 2"},
    )  # fmt: skip


def test_the_page_has_every_value(page, read_html):
    root = read_html(report.render_comparison(page))
    tables = root.find_all("table", "grid")
    assert len(tables) == 4, "targets, two grids, failures"
    cells = [[c.text() for c in line.find_all() if c.tag in ("td", "th")] for line in tables[1].find_all("tr")[2:]]
    assert cells[0] == ["dcmh", "0.716 ± 0.004", "0.726 ± 0.004", "0.764 ± 0.004", "0.774 ± 0.004", "41 s", "640 MiB"]
    assert cells[1][0] == "djsrh 1 of 3 runs failed"
    assert cells[2] == ["lost", "–", "–", "–", "–", "41 s", "640 MiB"]
    assert cells[3] == ["ridge", "0.900", "0.900", "0.900", "0.900", "–", "–"]
    bold = [b.text() for b in tables[1].find_all("strong")]
    assert bold == ["0.716", "0.726", "0.764", "0.774"]
    kinds = [c.kinds for c in tables[0].find_all("td") if c.kinds and c.kinds[0] in ("met", "missed", "open")]
    assert kinds == [["met"], ["missed"], ["open"]]
    text = root.text()
    for wanted in ("Bold: rule.", "loss <is> nan", "fasthash compare 'a[b=1]'", "693 queries."):
        assert wanted in text
    figures = root.find_all("svg", "figure")
    assert len(figures) == 1
    assert "dcmh 0.764 and 0.774" in figures[0].attrs["aria-label"]


def test_the_page_loads_nothing_and_is_the_same_each_time(page):
    text = report.render_comparison(page)
    assert text == report.render_comparison(page)
    assert not re.search(r'(src|href)="(?!#|data:)', text)


def test_a_page_without_anything(read_html):
    root = read_html(report.render_comparison(Comparison("Empty")))
    assert "Nothing was measured." in root.text()
    with pytest.raises(TypeError, match="page must be a Comparison, got str"):
        report.render_comparison("x")
    with pytest.raises(ValueError, match="title must not be empty"):
        Comparison(" ")


def test_markdown(page):
    text = report.comparison_markdown(page)
    assert text.startswith("# Methods \\| compared\n")
    assert "- command: `fasthash compare 'a[b=1]'`\n" in text
    assert (
        "| dcmh | **0.716 ± 0.004** | **0.726 ± 0.004** | **0.764 ± 0.004** | **0.774 ± 0.004** | 41 s | 640 MiB |"
        in text
    )
    assert "| djsrh (1 of 3 runs failed) | 0.416 ± 0.004 |" in text
    assert "![wiki](compare_wiki.png)" in text
    assert "met by 0.064 | 3 of 3 seeds |" in text
    assert "**missed by 0.300** | 0 of 3 seeds |" in text
    assert "- lost, 16 bits: loss \\<is\\> nan" in text
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, "every line of a table has as many cells"


def test_written_files(page, tmp_path):
    path = report.write_comparison(page, tmp_path / "new" / "index.html")
    assert path.read_text("utf-8") == report.render_comparison(page)
    (picture,) = report.write_pictures(page, tmp_path)
    assert picture.name == "compare_wiki.png"
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert pixels.shape[1] == 2 * 860
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    with pytest.raises(ValueError, match="write_comparison: path must be a file, got the folder"):
        report.write_comparison(page, tmp_path)


def test_the_figure_draws_means_and_spreads(grid):
    figure = comparison_figure(grid)
    left, right = figure.axes
    drawn = {line.get_color(): line.get_ydata().tolist() for line in left.lines}
    look = grid_styles(grid.rows)
    assert drawn[look["dcmh"].colour] == pytest.approx([0.716, 0.764])
    assert drawn[look["ridge"].colour] == [0.9, 0.9]
    bars = [path.vertices[:, 1].tolist() for bar in left.collections for path in bar.get_paths()]
    assert [0.712, 0.720] in [pytest.approx(bar) for bar in bars]
    assert len(bars) == 4, "two lengths of two rows; a single value has no bar"
    assert left.get_ylim() == right.get_ylim()
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["16", "64"]


def test_a_figure_needs_a_value():
    with pytest.raises(ValueError, match="grid must have a row with a value"):
        comparison_figure(Grid("mAP", BITS, [row("lost", 0, values={})]))


def test_references_are_grey_and_told_apart(grid):
    rows = [*grid.rows, GridRow("random", grid.rows[0].values, reference=True)]
    look = grid_styles(rows)
    assert look["ridge"].colour == look["random"].colour
    assert look["ridge"].dash != look["random"].dash
    assert look["dcmh"].colour != look["djsrh"].colour


def test_memory_reads_well():
    assert [memory(x) for x in (None, 639.6, 1536.0)] == ["–", "640 MiB", "1.5 GiB"]
