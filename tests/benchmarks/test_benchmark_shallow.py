"""The benchmark of the shallow methods at a few hundred pairs: what it measures and writes. No time is asserted."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import shallow

from fasthash import methods


def test_every_shallow_method_is_measured():
    known = {name for name in methods.names() if issubclass(methods.get(name), methods.ClosedForm)}
    assert known == set(shallow.METHODS)


def test_made_pairs_have_the_form_of_real_ones():
    image, text, labels = shallow.make(400, (12, 50))
    assert (image.shape, text.shape, labels.shape) == ((400, 12), (400, 50), (400, 24))
    assert set(np.unique(labels.sum(axis=1))) == {1, 2, 3, 4}
    assert set(np.unique(text)) == {0, 1}
    assert text.mean() == pytest.approx(shallow.WORDS, abs=0.01)
    assert all(np.array_equal(a, b) for a, b in zip(shallow.make(400, (12, 50)), (image, text, labels), strict=True))


def test_growth_is_the_slope():
    assert shallow.growth([10, 20, 40], [3.0, 12.0, 48.0]) == pytest.approx(2)
    assert math.isnan(shallow.growth([10], [3.0]))


def test_a_quick_run_writes_page_and_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(shallow, "measure_apart", lambda method, n, quick: {
        "method": method, "pairs": n, **shallow.fit(method, n, shallow.QUICK_WIDTHS, 8)
    })  # fmt: skip
    arguments = ["shallow.py", "--quick", "--sizes", "80", "120", "--methods", "imh", "seph", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    shallow.main()
    found = json.loads((tmp_path / "shallow.json").read_text())
    assert [(row["method"], row["pairs"]) for row in found["rows"]] == [
        ("imh", 80), ("seph", 80), ("imh", 120), ("seph", 120)
    ]  # fmt: skip
    assert all(row["seconds"] > 0 and row["encoding"] > 0 for row in found["rows"])
    assert all(line in (tmp_path / "shallow.md").read_text() for line in found["machine"])
    page = (tmp_path / "shallow.md").read_text()
    assert "| method | 80 | 120 | growth |" in page
    assert page.count("\n| imh |") == page.count("\n| seph |") == 1


def test_a_method_in_a_process_of_its_own():
    row = shallow.measure_apart("cca", 150, True)
    assert (row["method"], row["pairs"]) == ("cca", 150)
    assert row["seconds"] > 0


def test_a_process_that_fails_is_told(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "Traceback\n\nValueError: what was wrong\n")
    monkeypatch.setattr(shallow.subprocess, "run", lambda *given, **named: failed)
    with pytest.raises(RuntimeError, match="shallow: imh at 5 pairs failed: ValueError: what was wrong"):
        shallow.measure_apart("imh", 5, True)


def test_results_are_for_measurements(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["shallow.py", "--quick"])
    with pytest.raises(SystemExit):
        shallow.main()
    assert "--quick wants --out FOLDER" in capsys.readouterr().err
