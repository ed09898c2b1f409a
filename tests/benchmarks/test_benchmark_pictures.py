"""The benchmark pictures: marks stand at what they say, and names do not touch."""

from itertools import pairwise

import draw
import numpy as np
import pictures
import pictures_scaling
import pytest
import scaling
import scaling_rows
from cases_hamming import FAISS
from goals import Goal
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from measured import Measured


def rows(speedup):
    """A row for each size of a full run, as fast as speedup(point) says; FAISS takes a nanosecond a pair."""
    found = []
    for p in scaling.sizes(quick=False):
        ratio, faiss = speedup(p), 1e-9 * p.nb * p.nq
        figures = (float(f"{x:.4g}") for x in (faiss / ratio, faiss, ratio, ratio, ratio))  # as the file keeps them
        found.append(scaling_rows.Row(p.bits, p.nb, p.nq, *figures))
    return found


def boxes(figure, gid):
    """Where the texts with this name stand, in pixels, by axes."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [[text for text in axes.texts if text.get_gid() == gid] for axes in figure.axes]
    return [[text.get_window_extent(renderer) for text in found] for found in texts]


def overlaps(found):
    return any(a.overlaps(b) for i, a in enumerate(found) for b in found[:i])


@given(st.lists(st.floats(-50, 150), max_size=8))
def test_spread_keeps_order_and_gap_and_stays_inside(wanted):
    found = draw.spread(wanted, 10, 0, 100)
    assert len(found) == len(wanted)
    placed = [found[i] for i in np.argsort(wanted, kind="stable")]
    assert all(b - a >= 10 - 1e-6 for a, b in pairwise(placed))
    assert all(-1e-6 <= x <= 100 + 1e-6 for x in placed)


def test_spread_leaves_places_that_are_apart():
    assert draw.spread([50, 10, 30], 10, 0, 100) == pytest.approx([50, 10, 30])
    assert draw.spread([20, 20], 10, 0, 100) == pytest.approx([15, 25])


@pytest.mark.parametrize("speedup", [lambda p: 1.0, lambda p: 1 + p.nq**0.4, lambda p: 20 / p.bits**0.3])
@pytest.mark.parametrize("make", [pictures_scaling.speeds, pictures_scaling.ratios])
def test_names_of_lines_do_not_touch(make, speedup):
    figure = make(rows(speedup))
    named = boxes(figure, "line-name")
    assert [len(found) for found in named] == ([3, 2, 3] if make is pictures_scaling.speeds else [4, 3, 4])
    assert not any(map(overlaps, named))
    width = figure.get_window_extent().width
    assert all(box.x1 <= width for found in named for box in found)


def test_lines_are_those_of_the_sweep():
    found = rows(lambda p: 2.0)
    fixed = [pictures_scaling.lines(found, sweep) for sweep in pictures_scaling.SWEEPS]
    assert [value for value, _ in fixed] == [64, scaling.MAX_N, scaling.MAX_N]
    assert [list(lines) for _, lines in fixed] == [[1, 16, 256], [64, 256], [1, 16, 256]]
    steps = (scaling.STEPS_N, scaling.STEPS_Q, scaling.STEPS_BITS)
    for sweep, (_, lines), wanted in zip(pictures_scaling.SWEEPS, fixed, steps, strict=True):
        assert all(tuple(getattr(row, sweep.x) for row in own) == wanted for own in lines.values())
        assert all(pictures_scaling.speed(row, "fasthash") == pytest.approx(2e9) for row in lines[min(lines)])


def test_bars_and_marks_of_goals():
    seconds = {"ours": [1.0, 1.0, 1.0], FAISS: [6.0, 6.0, 6.0]}
    case = Measured("64 bits, N 1,000,000, Q 256, 1 thread", FAISS, 1.0, seconds, {}, (Goal("ours", FAISS, 8, 12),))
    figure = pictures.goals_figure(list(case.reached()))
    (axes,) = figure.axes
    (bar,) = axes.patches
    assert (bar.get_x(), bar.get_x() + bar.get_width()) == (1, 6)
    upright = [line.get_xdata() for line in axes.lines if line.get_xdata()[0] == line.get_xdata()[1] != 1]
    assert [x[0] for x in upright if x[0] != 6] == [8, 12]
    texts = [text.get_text() for text in axes.texts]
    assert "ours: 64 bits, Q 256" in texts
    assert "x6, missed" in texts


def test_scaling_rows_survive_the_file(tmp_path):
    wanted = rows(lambda p: 4.0)
    scaling_rows.save(tmp_path / scaling.DATA, wanted)
    assert scaling_rows.load(tmp_path / scaling.DATA) == wanted
    assert f"| 1024 | 1,000,000 | 256 | {0.25:.3g} | 1 | 4.00 (4.00 to 4.00) |" in scaling.page(wanted, 5)


def test_nothing_measured_makes_no_picture(tmp_path):
    assert pictures.make(tmp_path) == []


@pytest.mark.parametrize(("value", "text"), [(1, "1"), (1024, "1024"), (10_000, "10k"), (3e6, "3M"), (1e10, "10G")])
def test_short_numbers(value, text):
    assert draw.short(value) == text
