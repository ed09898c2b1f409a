"""Figures: what is drawn, where names go, and SVG that can live inside a page."""

import re
import subprocess
import sys
from itertools import pairwise
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasthash.report import RANDOM, Curve, History
from fasthash.report.labels import Box, place
from fasthash.report.plots import loss_figure, map_figure, pr_figure
from fasthash.report.svg import inline
from fasthash.report.theme import DARK, LIGHT, styles

RECALL = np.linspace(0, 1, 30)
CURVES = [Curve("djsrh", RECALL, 0.6 - 0.5 * RECALL), Curve("dcmh", RECALL, 0.9 - 0.8 * RECALL**2),
          Curve(RANDOM, RECALL, np.full(30, 0.1))]  # fmt: skip
EPOCHS = np.arange(1, 21)
STYLE = styles(["dcmh"])["dcmh"]


def history(loss, label="dcmh"):
    return History(label, EPOCHS[: len(loss)], loss, [10, 20], [0.2, 0.3], [0.25, 0.35])


def drawn(figure):
    (axes,) = figure.axes
    return axes, [line.get_xydata() for line in axes.get_lines()]


def texts(svg):
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter("text")]


def test_pr_figure_draws_every_curve():
    _, lines = drawn(pr_figure(CURVES))
    for line, curve in zip(lines, CURVES, strict=True):
        np.testing.assert_array_equal(line, np.stack([curve.recall, curve.precision], axis=1))


def test_pr_figure_colours_follow_the_method():
    axes, _ = drawn(pr_figure(CURVES, styles(["dcmh", "djsrh", RANDOM])))
    assert [line.get_color() for line in axes.get_lines()] == [LIGHT["series-2"], LIGHT["series-1"], LIGHT["baseline"]]


def test_a_curve_of_one_point_is_seen():
    axes, _ = drawn(pr_figure([Curve("dcmh", [0.5], [0.5])]))
    assert axes.get_lines()[0].get_marker() == "o"


def test_many_curves_are_left_to_the_legend():
    many = [Curve(f"m{k}", RECALL, np.full(30, k / 10)) for k in range(9)]
    assert not drawn(pr_figure(many))[0].texts
    assert [text.get_text() for text in drawn(pr_figure(CURVES))[0].texts] == ["djsrh", "dcmh", RANDOM]


def test_loss_has_gaps_where_it_is_not_finite():
    _, (line,) = drawn(loss_figure(history([3.0, np.inf, np.nan, 1.0]), STYLE))
    np.testing.assert_array_equal(line[:, 1], [3.0, np.nan, np.nan, 1.0])


@pytest.mark.parametrize(
    ("loss", "scale"),
    [(50_000.0 / EPOCHS**2, "log"), (2.0 / EPOCHS, "linear"), (1.0 - EPOCHS * 1.0, "linear"), (EPOCHS * 0.0, "linear"),
     ([np.nan, np.nan], "linear")],
)  # fmt: skip
def test_loss_scale(loss, scale):
    figure = loss_figure(history(loss), STYLE)
    assert drawn(figure)[0].get_yscale() == scale
    assert ("Loss, log scale" in texts(inline(figure, "f", ""))) == (scale == "log")


def test_map_figure_draws_both_sides_on_the_given_scale():
    axes, (i2t, t2i) = drawn(map_figure(history([1.0]), STYLE, top=0.5))
    np.testing.assert_allclose(i2t, [[10, 0.2], [20, 0.3]])
    np.testing.assert_allclose(t2i, [[10, 0.25], [20, 0.35]])
    assert axes.get_ylim() == (0, pytest.approx(0.5, rel=0.03))
    first, second = (line.get_linestyle() for line in axes.get_lines())
    assert first != second  # told apart without colour


def test_nothing_to_draw_is_refused():
    empty = History("x", [], [], [], [], [])
    for draw in (lambda: pr_figure([]), lambda: loss_figure(empty, STYLE), lambda: map_figure(empty, STYLE)):
        with pytest.raises(ValueError, match=r"must (hold|have) at least one .* got none"):
            draw()


def test_svg_belongs_to_its_page():
    svg = inline(pr_figure(CURVES), "f7", 'a "quoted" <alt>')
    root = ElementTree.fromstring(svg)
    assert (root.tag, root.get("role"), root.get("aria-label")) == ("svg", "img", 'a "quoted" <alt>')
    assert not re.findall(r"#[0-9a-fA-F]{3,8}\b(?!\))", re.sub(r"url\(#[^)]+\)", "", svg))  # colours are variables
    assert set(re.findall(r"var\(--([\w-]+)\)", svg)) <= set(LIGHT)
    assert {"var(--series-1)", "var(--series-2)", "var(--baseline)"} <= set(re.findall(r"var\([^)]*\)", svg))
    ids = [node.get("id") for node in root.iter() if node.get("id")]
    assert len(ids) == len(set(ids))
    assert all(name.startswith("f7-") for name in ids)
    assert {a or b for a, b in re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg)} == set(ids)  # clips and markers
    assert not {node.tag for node in root.iter()} & {"metadata", "style", "script", "title"}
    assert "http" not in svg
    assert "font-family" not in svg
    assert {"Precision", "Recall", "djsrh", "dcmh", RANDOM} <= set(texts(svg))


def test_svg_is_the_same_every_time():
    assert inline(pr_figure(CURVES), "f1", "x") == inline(pr_figure(CURVES), "f1", "x")


@pytest.mark.parametrize("name", ["$x$", "$\\frac", "a & <b>", "心臓", "<script>alert(1)</script>", "url(#f1-0)"])
def test_names_are_written_as_they_are(name):
    svg = inline(pr_figure([Curve(name, RECALL, RECALL)]), "f1", name)
    assert name in texts(svg)
    assert "<script" not in svg


def test_global_settings_are_left_alone():
    before = dict(matplotlib.rcParams)
    inline(pr_figure(CURVES), "f1", "x")
    assert dict(matplotlib.rcParams) == before
    code = (
        "import sys; from fasthash.report import Curve; from fasthash.report.plots import pr_figure;"
        "pr_figure([Curve('a', [0, 1], [1, 0])]); print('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_user_settings_do_not_reach_the_figures():
    want = inline(pr_figure(CURVES), "f1", "x")
    with matplotlib.rc_context({"font.size": 40, "axes.grid": False, "lines.linewidth": 9, "svg.fonttype": "path"}):
        assert inline(pr_figure(CURVES), "f1", "x") == want


def meets(a, b, box):
    """Whether the segment from a to b enters the box: Liang and Barsky's clipping, exact for segments."""
    low, high = 0.0, 1.0
    for start, step, left, right in (
        (a[0], b[0] - a[0], box.left, box.right),
        (a[1], b[1] - a[1], box.bottom, box.top),
    ):
        if step == 0:
            if not left < start < right:
                return False
            continue
        ends = sorted(((left - start) / step, (right - start) / step))
        low, high = max(low, ends[0]), min(high, ends[1])
    return low < high


series = st.lists(st.floats(0, 200).map(lambda y: round(y, 3)), min_size=2, max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(series, min_size=1, max_size=4), st.floats(10, 150))
def test_names_lie_clear_of_lines_and_of_each_other(heights, width):
    frame = Box(0, 0, 380, 240)
    paths = [np.stack([np.linspace(0, 380, len(y)), y], axis=1) for y in heights]
    boxes = place(paths, [width] * len(paths), 11, frame)
    assert len(boxes) == len(paths)
    found = [box for box in boxes if box]
    for place_, box in enumerate(found):
        assert box.left >= 0
        assert box.bottom >= 0
        assert box.right <= 380
        assert box.top <= 240
        assert box.right - box.left == pytest.approx(width)
        assert not any(meets(a, b, box) for path in paths for a, b in pairwise(path))
        for other in found[place_ + 1 :]:
            apart = (
                box.right <= other.left or other.right <= box.left or box.top <= other.bottom or other.top <= box.bottom
            )
            assert apart


def test_a_name_is_nearest_to_its_own_line():
    x = np.linspace(0, 380, 20)
    paths = [np.stack([x, np.full(20, y)], axis=1) for y in (60.0, 120.0, 180.0)]
    for own, box in zip((60, 120, 180), place(paths, [60.0] * 3, 11, Box(0, 0, 380, 240)), strict=True):
        middle = (box.bottom + box.top) / 2
        assert min((60, 120, 180), key=lambda y: abs(y - middle)) == own


def test_no_room_is_none():
    path = np.array([[0.0, 5.0], [100.0, 5.0]])
    assert place([path], [50.0], 11, Box(0, 0, 100, 10)) == [None]
    assert place([path], [500.0], 3, Box(0, 0, 100, 100)) == [None]


def luminance(colour):
    channels = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_can_be_told_from_what_is_under_them(theme):
    # WCAG 2.1: 4.5 to 1 for text (1.4.3), 3 to 1 for lines and marks (1.4.11).
    for text in ("ink", "muted", "accent"):
        assert contrast(theme[text], theme["surface"]) >= 4.5
        assert contrast(theme[text], theme["page"]) >= 4.5
    for mark in ("good", "bad", *(name for name in theme if name.startswith("series-"))):
        assert contrast(theme[mark], theme["surface"]) >= 4.5  # lines carry their names in their colour
    assert contrast(theme["baseline"], theme["surface"]) >= 3


def test_every_colour_is_one_variable():
    assert set(LIGHT) == set(DARK)
    assert len(set(LIGHT.values())) == len(LIGHT)  # figures are recoloured by value


def test_styles_repeat_only_with_other_dashes():
    found = styles([f"m{k}" for k in range(20)])
    assert len({(style.name, style.dash) for style in found.values()}) == 20
