"""The scaling of losses: contestants agree, what would not fit is said, limits are right. No time is asserted."""

import json

import loss_scaling
import loss_scaling_rows as kept
import loss_scaling_work
import pictures_loss_scaling
import pytest
import torch
from loss_scaling_rows import CHUNKED, EAGER, JOINT, MEASURED, NO_ROOM, OURS, PAIRWISE, RATE, TOO_LONG, Row
from matplotlib.backends.backend_agg import FigureCanvasAgg

GIB = 2.0**30


def row(op, contestant, n, seconds, memory, status=MEASURED):
    return Row(op, contestant, n, status, seconds, seconds, seconds, memory)


def made():
    """A run in which eager grows with the square and the others do not."""
    rows = [row("machine", RATE, 2048, 0.2, 0.0)]
    for op, sizes in loss_scaling.STEPS.items():
        for n in sizes:
            rows.append(row(op, OURS, n, 1e-9 * n * n, 600.0 * n))
            rows.append(row(op, CHUNKED, n, 4e-9 * n * n, 900.0 * n, TOO_LONG if n == sizes[-1] else MEASURED))
            rows.append(row(op, EAGER, n, 1e-8 * n * n, 24.0 * n * n, NO_ROOM if n > 20_000 else MEASURED))
    return rows


@pytest.mark.parametrize("op", [PAIRWISE, JOINT])
def test_contestants_find_the_same(op):
    n = 2 * loss_scaling_work.BLOCK + 3  # the last block is smaller
    calls = loss_scaling_work.MAKERS[op](n)
    assert tuple(calls) == loss_scaling.CONTESTANTS
    want = calls[EAGER]()
    for name in (OURS, CHUNKED):
        torch.testing.assert_close(calls[name](), want, rtol=1e-4, atol=1e-5 if op == JOINT else 2e-3)


def test_a_size_that_does_not_fit_is_told_and_the_machine_lives():
    found = loss_scaling.run(PAIRWISE, EAGER, 20_000, 0.6 * GIB)  # a matrix of all pairs alone takes 1.5 GiB
    assert found.status == NO_ROOM
    assert found.memory >= 0.6 * GIB


def test_other_failures_are_raised():
    with pytest.raises(RuntimeError, match="loss_scaling: nobody of pairwise_nll at 8 failed: KeyError: 'nobody'"):
        loss_scaling.run(PAIRWISE, "nobody", 8, 8 * GIB)


def test_larger_sizes_are_foretold():
    smaller = [row(PAIRWISE, EAGER, n, 1e-8 * n * n, 24.0 * n * n) for n in (1000, 2000)]
    assert loss_scaling.ahead(smaller, 10_000) == pytest.approx((1.0, 2.4e9))
    assert loss_scaling.foretold(PAIRWISE, EAGER, 10_000, smaller, 3e9, 10) is None
    assert loss_scaling.foretold(PAIRWISE, EAGER, 10_000, smaller, 2e9, 10).status == NO_ROOM
    assert loss_scaling.foretold(PAIRWISE, EAGER, 10_000, smaller, 3e9, 0.5).status == TOO_LONG
    assert loss_scaling.foretold(PAIRWISE, EAGER, 10_000, smaller[:1], 1.0, 1e-9) is None


def test_limits():
    rows = made()
    rate = 2 * 2048**3 / 0.2
    assert kept.least_seconds(PAIRWISE, 1000, rows) == pytest.approx(3 * 2 * 1e6 * 64 / rate)
    assert kept.least_seconds(JOINT, 100_000, rows) == pytest.approx(16 * 1e5 * 2048 * 64 / rate)
    assert kept.least_seconds(JOINT, 32, rows) == pytest.approx((2 * 32**2 * 2048 + 8 * 32**2 * 64) / rate)
    assert kept.least_seconds(JOINT, 32, rows[1:]) is None
    assert kept.least_memory(1000) == 2 * 1000 * 64 * 4


def test_page_and_file(tmp_path):
    rows = made()
    kept.save(tmp_path / "rows.csv", rows)
    read = kept.load(tmp_path / "rows.csv")
    assert [(r.op, r.contestant, r.n, r.status) for r in read] == [(r.op, r.contestant, r.n, r.status) for r in rows]
    assert [r.memory for r in read] == pytest.approx([r.memory for r in rows], rel=1e-3)
    text = loss_scaling.page(read)
    assert "does not fit (needs 224 GiB)" in text
    assert "not run (about 40)" in text
    assert text.count("\n| 1,000 |") == 2


@pytest.mark.parametrize("make", [pictures_loss_scaling.times, pictures_loss_scaling.memories])
def test_names_of_lines_do_not_touch(make):
    figure = make(made())
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axes in figure.axes:
        boxes = [text.get_window_extent(renderer) for text in axes.texts if text.get_gid() == "line-name"]
        assert len(boxes) == 4
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
        assert all(box.x1 <= figure.get_window_extent().width for box in boxes)


def test_work_prints_one_line_of_json(script):
    done = script("loss_scaling_work.py", PAIRWISE, OURS, "70")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["seconds"]) >= 5
    assert found["memory"] >= 0


def test_quick_run_writes_everything(script, tmp_path):
    done = script("loss_scaling.py", "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        "loss_scaling.csv", "loss_scaling.md", "loss_scaling_time.png", "loss_scaling_memory.png",
    }  # fmt: skip
    done = script("loss_scaling.py", "--quick")
    assert done.returncode == 2
    assert "benchmarks/results is for measurements" in done.stderr
