"""The benchmark of a million pairs at a few hundred: what it writes, what it counts. No time is asserted."""

import million_pairs
import numpy as np
import pytest

from fasthash import _loop, evaluation


@pytest.fixture
def folder(tmp_path):
    million_pairs.write(tmp_path, 300)
    return tmp_path


def test_both_ways_hold_the_same_data(folder):
    mapped, held = (million_pairs.load(folder, mapped=mapped) for mapped in (True, False))
    assert isinstance(mapped.image, np.memmap)
    assert not isinstance(held.image, np.memmap)
    assert mapped.checksum() == held.checksum()
    assert np.array_equal(mapped.text, held.text)
    assert (len(mapped), len(mapped.split.query), mapped.ids[299], mapped.ids[-1:]) == (300, 30, "299", ["299"])
    assert 1 <= mapped.labels.sum(axis=1).min() <= mapped.labels.sum(axis=1).max() <= 2


def test_steps_are_counted_and_parts_told_apart(folder, monkeypatch):
    for module, name in ((_loop.Stepper, "step"), (_loop, "batches")):
        monkeypatch.setattr(module, name, getattr(module, name))  # what is put in their place goes with the test
    for name in ("encode", "score"):
        monkeypatch.setattr(evaluation, name, getattr(evaluation, name))
    mapped, held = (million_pairs.measure(folder, "dcmh", 2, mapped=mapped) for mapped in (True, False))
    assert mapped["steps"] == 4  # two of each side
    assert mapped["codes"] == held["codes"]
    assert set(million_pairs.PARTS) <= set(mapped)
    line = million_pairs.line(300, "dcmh", mapped | {"training": 3 << 20, "seconds": 2.0}, None)
    assert line.startswith("| dcmh | 300 | 1 | 0 | 3 |")
    assert line.endswith("| - | 2 | - | - |")
    assert line in million_pairs.page([line], 2)


def test_what_is_meant_to_grow():
    n = 1_000_000
    assert million_pairs.named("djsrh", n) == n * (24 + 24 + 16)
    assert million_pairs.named("dcmh", n) == n * (48 + 8 + 24 + 3 * 256 + 16)
