"""The best row against the second over the queries: which rows, which values, what is said."""

import json
from dataclasses import replace

import numpy as np
import pytest
from compare_cases import DJSRH, TOWERS

from fasthash import metrics
from fasthash.compare import curves, run_compare
from fasthash.compare.standings import standings
from fasthash.compare.summary import Standing

ROWS = [{"method": TOWERS, "name": "towers"}, {"method": DJSRH, "name": "djsrh"}, "cca", "ridge", "random"]


@pytest.fixture
def compared(make_plan, in_process, tmp_path):
    return run_compare(make_plan(rows=ROWS, bits=[8], seeds=2), tmp_path, progress=False)


def precisions(compared, row, direction):
    cells = [cell for _, label, cell in compared.cells if label == row]
    return np.mean([curves.read_precisions(compared.folder / cell.folder, direction) for cell in cells], axis=0)


def test_the_best_and_the_second_code(compared):
    assert [(one.bits, one.direction) for one in compared.standings] == [(8, "i2t"), (8, "t2i")]
    for one in compared.standings:
        means = {row: precisions(compared, row, one.direction) for row in ("towers", "djsrh", "cca", "random")}
        first, second = sorted(means, key=lambda row: -means[row].mean())[:2]
        assert (one.best, one.second) == (first, second), "ridge is no code"
        gap = means[first] - means[second]
        assert one.difference == pytest.approx(gap.mean())
        assert one.low < gap.mean() < one.high
        assert one.seeds == (1 if {"cca"} == {first, second} else 2), "a row without seeds stands for every one"
        assert one.queries == len(gap)
        assert one.p_value == metrics.paired_test(means[first], means[second], samples=2_000).p_value


def test_every_form_has_them(compared, tmp_path):
    said = [str(one) for one in compared.standings]
    assert list(compared.shown.data[0].parts[0].grids[0].notes) == said
    assert not compared.shown.data[0].parts[0].grids[1].notes, "they speak of the first measure"
    text, page = (tmp_path / "compare.md").read_text("utf-8"), (tmp_path / "index.html").read_text("utf-8")
    for line in said:
        assert "- " + line.replace("<", "\\<") + "\n" in text
        assert f"<li>{line}</li>" in page.replace("&lt;", "<")
    record = json.loads((tmp_path / "compare.json").read_text("utf-8"))
    assert record["standings"] == [one.to_dict() for one in compared.standings]


def test_nothing_is_said_of_one_row_or_without_precisions(compared, make_plan, in_process, tmp_path):
    alone = run_compare(make_plan(rows=[DJSRH, "ridge"], bits=[8]), tmp_path / "alone", progress=False)
    assert alone.standings == []
    for path in compared.folder.glob("*/codes.npz"):
        with np.load(path) as arrays:
            kept = {key: value for key, value in arrays.items() if not key.startswith("ap_")}
        np.savez_compressed(path, **kept)
    assert standings(compared) == []


def test_seeds_that_both_have(compared):
    for path in compared.folder.glob("*-s1-*/codes.npz"):
        path.unlink()
    assert {one.seeds for one in standings(compared)} == {1}


def test_words():
    one = Standing("wiki", "", 64, "i2t", "dcmh", "ssah", 0.0204, 0.0112, 0.0297, 0.0004, 1814, 3)
    assert str(one) == (
        "64 bits, image → text: dcmh is ahead of ssah by 0.020, 95% interval 0.011 to 0.030 over 1,814 queries, "
        "p < 0.001, mean of 3 seeds"
    )
    near = replace(one, difference=0.001, low=-0.004, p_value=0.61, seeds=1, direction="t2i")
    assert str(near).endswith("over 1,814 queries, p = 0.610, one seed; the queries do not tell them apart")
    behind = replace(one, difference=-0.01, low=-0.02, high=-0.001)
    assert (
        "dcmh has the higher mean, but with the codes kept is behind ssah by 0.010, 95% interval 0.001 to 0.020 over"
        in str(behind)
    )


def test_damaged_codes_are_no_precisions(compared):
    for path in compared.folder.glob("*/codes.npz"):
        path.write_bytes(path.read_bytes()[:100])
    assert standings(compared) == []
