"""The page and the figures of a sweep: every number is there, the best framed, the preset marked."""

import re

import numpy as np
import pytest
from sweep_cases import X, Y, make_line, make_map, make_sweep, values

from fasthash.report.sweep import Map, SweepPage
from fasthash.report.sweep_page import pictures, render_sweep, write_sweep, write_sweep_pictures
from fasthash.report.sweep_plots import LOOK, curve_figure, heat_figure, in_order, positions, spans


@pytest.fixture
def page():
    return make_sweep()


def test_the_page_has_every_value(page, read_html):
    root = read_html(render_sweep(page))
    table, failed = root.find_all("table", "grid")
    cells = [[c.text() for c in line.find_all() if c.tag in ("td", "th")] for line in table.find_all("tr")]
    assert cells[0] == ["beta", "eta", "Image → text", "Text → image", "Mean of both", "Training"]
    assert cells[1] == ["0.5 best", "none", "0.600 ± 0.010", "0.450 ± 0.020", "0.525 ± 0.010", "41 s"]
    assert cells[2] == ["0 2 of 2 runs failed", "<b>", "–", "–", "–", "–"]
    assert [one.text() for one in table.find_all("strong")] == ["0.525"]
    assert "loss <is> nan" in failed.text()
    text = root.text()
    for wanted in (
        "Best of 2 settings.",
        "54 queries.",
        "at eta=0.2",
        "fasthash sweep 'x'",
        "image → text, eta against beta",
    ):
        assert wanted in text
    said = [one.attrs["aria-label"] for one in root.find_all("svg", "figure")]
    assert len(said) == 3
    assert "image → text highest at 0.5, 0.600; text → image highest at 1, 0.500" in said[0]
    assert "highest beta 0.5 and eta 0.2, 0.400" in said[1]


def test_the_page_loads_nothing_and_is_the_same_each_time(page):
    text = render_sweep(page)
    assert text == render_sweep(page)
    assert not re.search(r'(src|href)="(?!#|data:)', text)


def test_a_page_without_anything(read_html):
    root = read_html(render_sweep(SweepPage("Empty", "", "mAP", ("beta",), [])))
    assert "Nothing was measured." in root.text()
    with pytest.raises(TypeError, match="page must be a SweepPage, got str"):
        render_sweep("x")
    with pytest.raises(ValueError, match="title must not be empty"):
        SweepPage(" ", "", "mAP", (), [])


def test_written_files(page, tmp_path):
    path = write_sweep(page, tmp_path / "new" / "index.html")
    assert path.read_text("utf-8") == render_sweep(page)
    written = write_sweep_pictures(page, tmp_path)
    assert [one.name for one in written] == ["sweep_beta.png", "sweep_beta_eta_i2t.png", "sweep_beta_eta_t2i.png"]
    assert [one.stem for one in written] == list(pictures(page))
    with pytest.raises(ValueError, match="write_sweep: path must be a file, got the folder"):
        write_sweep(page, tmp_path)


def test_curves_have_bands_and_the_preset():
    (axes,) = curve_figure(make_line()).axes
    drawn = {line.get_color(): line for line in axes.get_lines() if str(line.get_gid()).startswith("series-")}
    i2t, t2i = (drawn[LOOK[d].colour] for d in ("i2t", "t2i"))
    assert (i2t.get_xdata().tolist(), i2t.get_ydata().tolist()) == ([0, 0.5], [0.5, 0.6]), "what failed is left out"
    assert t2i.get_ydata().tolist() == [0.4, 0.45, 0.5]
    bands = [path.vertices[:, 1] for band in axes.collections for path in band.get_paths()]
    assert sorted(float(band.max()) for band in bands) == pytest.approx([0.51, 0.61])
    (preset,) = (line for line in axes.get_lines() if not str(line.get_gid()).startswith("series-"))
    assert preset.get_xdata() == [0.5, 0.5]
    low, high = axes.get_ylim()
    assert (low, high) == pytest.approx(spans([make_line()]))
    assert low < 0.39
    assert high > 0.61


def test_scales():
    assert curve_figure(make_line(("0.001", "0.01", "1"), "")).axes[0].get_xscale() == "log"
    assert len(curve_figure(make_line(("0.001", "0.01", "1"), "")).axes[0].get_lines()) == 2, "no preset, no line"
    assert positions(("1", "2", "29"))[1] == "linear"
    assert positions(("0", "1000"))[1] == "linear"
    at, scale = positions(("root", "constant"))
    assert (at.tolist(), scale) == ([0, 1], "names")
    assert positions(("1", "inf"))[1] == "names"
    names = curve_figure(make_line(("root", "constant", "none"), "root")).axes[0]
    assert [tick.get_text() for tick in names.get_xticklabels()] == ["root", "constant", "none"]
    assert in_order(("1", "0.5", "1e-3")) == ["1e-3", "0.5", "1"]
    assert in_order(("b", "a", "1")) == ["b", "a", "1"]
    one = curve_figure(make_line(("2",), "2", (0.5,), (0.4,))).axes[0]
    assert one.get_xlim()[0] < 2 < one.get_xlim()[1]
    many = tuple(map(str, range(40)))
    assert len(curve_figure(make_line(many, "3", (0.5,) * 40, (0.4,) * 40)).axes[0].get_xticks()) <= 11


def test_a_figure_needs_a_value():
    with pytest.raises(ValueError, match="needs at least one measured value"):
        curve_figure(make_line(X, "", (None,) * 3, (None,) * 3))


def test_the_map_is_darkest_at_the_best():
    (axes,) = heat_figure(make_map(), "i2t").axes
    cells = [one for one in axes.patches if one.get_facecolor()[3] > 0]
    shade = {(one.get_x(), one.get_y()): one.get_facecolor()[3] for one in cells}
    assert set(shade) == {(0, 0), (1, 0), (2, 0), (0, 1), (2, 1)}, "a setting that failed has no colour"
    assert max(shade, key=shade.get) == (1, 0)
    assert min(shade, key=shade.get) == (2, 1)
    ranked = sorted(shade, key=shade.get)
    means = {(0, 0): 0.3, (1, 0): 0.4, (2, 0): 0.35, (0, 1): 0.31, (2, 1): 0.2}
    assert ranked == sorted(means, key=means.get)
    frames = [one for one in axes.patches if one.get_facecolor()[3] == 0]
    assert sorted((round(one.get_x()), round(one.get_y())) for one in frames) == [(1, 0), (2, 0)], "best and preset"
    assert {text.get_text() for text in axes.texts} == {"0.300", "0.400", "0.350", "0.310", "0.200"}


def test_a_map_of_one_value_or_none():
    same = Map(("a", X), ("b", Y), {"i2t": [values(0.5, 0.5, 0.5)] * 2, "t2i": [values(None, None, None)] * 2})
    assert heat_figure(same, "i2t").axes
    assert heat_figure(same, "t2i").axes[0].texts[:] == []
    wide = Map(("a", [str(i) for i in range(60)]), ("b", Y), {"i2t": [values(*np.linspace(0, 1, 60))] * 2})
    assert len(heat_figure(wide, "i2t", size=(600, 200)).axes[0].texts) == 0, "no room for values"
