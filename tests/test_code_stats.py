"""What a set of codes looks like, against float64 truth over all pairs; and each sign of collapse in words."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fasthash import codes
from fasthash.codes import _stats, describe, opposed_bits, pack


def truth(ones):
    """(mean, largest, repeats) of |correlation|, and the distances of all pairs, one by one in float64."""
    living = ones[:, ones.any(axis=0) & ~ones.all(axis=0)].astype(np.float64)
    found = np.abs(np.corrcoef(living, rowvar=False)) if living.shape[1] > 1 else np.zeros((1, 1))
    below = found[np.tril_indices(len(found), -1)]
    repeats = sum((found[i, :i] > 0.999).any() for i in range(len(found)))
    distances = [int((ones[i] != ones[j]).sum()) for i in range(len(ones)) for j in range(i)]
    return (below.mean() if below.size else 0.0, below.max() if below.size else 0.0, repeats), distances


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 40))))
def test_equals_the_truth_over_all_pairs(ones):
    stats = describe(pack(ones), ones.shape[1])
    (mean, largest, repeats), distances = truth(ones)
    assert stats.correlation == pytest.approx(mean, abs=1e-12)
    assert stats.largest_correlation == pytest.approx(largest, abs=1e-12)
    assert stats.repeated_bits == repeats
    assert stats.distances.tolist() == np.bincount(np.array(distances, int), minlength=ones.shape[1] + 1).tolist()
    assert stats.distance == pytest.approx(np.mean(distances) if distances else 0.0, abs=1e-9)
    # the variance is a difference of squares, up to bits^2
    assert stats.distance_spread**2 == pytest.approx(np.var(distances) if distances else 0.0, abs=1e-9)
    assert stats.distinct == len(np.unique(ones, axis=0))
    assert stats.commonest == np.unique(ones, axis=0, return_counts=True)[1].max() / len(ones)
    assert stats.balance.tolist() == ones.mean(axis=0).tolist()


@pytest.mark.parametrize("bits", [60, 64, 65, 200])
def test_long_codes_and_several_chunks(bits, monkeypatch):
    monkeypatch.setattr(_stats, "_CELLS", 64 * bits)
    ones = np.random.default_rng(0).random((300, bits)) < np.linspace(0.1, 0.9, bits)
    (mean, largest, _), distances = truth(ones)
    stats = describe(pack(ones), bits)
    assert stats.correlation == pytest.approx(mean, abs=1e-12)
    assert stats.largest_correlation == pytest.approx(largest, abs=1e-12)
    assert (stats.distance, stats.distance_spread) == pytest.approx((np.mean(distances), np.std(distances)), abs=1e-9)
    assert stats.distinct == 300


def test_counts_by_hand():
    stats = describe(pack(np.array([[True, True], [True, False], [True, True], [True, False]])), 2)
    assert stats.balance.tolist() == [1.0, 0.5]
    assert stats.distinct == 2
    assert stats.entropy == pytest.approx(1.0)
    assert stats.dead_bits == 1
    assert stats.distances.tolist() == [2, 4, 0]
    assert stats.distance == pytest.approx(4 / 6)
    assert stats.commonest == 0.5


def test_very_many_codes_are_sampled_where_it_matters_and_counted_where_it_does_not(monkeypatch):
    rng = np.random.default_rng(0)
    ones = rng.random((6000, 16)) < 0.5
    ones[:, 3] = ones[:, 2]
    ones[5999, 0] = True  # one row alone: not to be missed by what counts all rows
    ones[:5999, 0] = False
    exact = describe(pack(ones), 16)
    assert (exact.correlated_rows, exact.distances.sum()) == (6000, 1448 * 1447 // 2)
    monkeypatch.setattr(_stats, "_PRODUCTS", 2000 * 16**2)
    stats = describe(pack(ones), 16)
    assert stats.correlated_rows == 2000
    assert (stats.balance == exact.balance).all()
    assert (stats.distinct, stats.entropy, stats.dead_bits) == (exact.distinct, exact.entropy, 0)
    assert stats.distance == pytest.approx(exact.distance, abs=0.05)
    assert stats.correlation == pytest.approx(exact.correlation, abs=0.02)
    assert stats.repeated_bits == 1
    again = describe(pack(ones), 16)
    assert again.correlation == stats.correlation, "the draw is always the same"


def test_memory_does_not_grow_with_the_bits_of_all_codes():
    lines = [
        "import resource, numpy as np; from fasthash.codes import describe",
        "rows = np.random.default_rng(0).integers(0, 256, (3_000_000, 8), dtype=np.uint8)",
        "describe(rows[:1000], 64)",
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss",
        "describe(rows, 64)",
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200 * 1024, "KiB; the unpacked bits alone were 183 MiB, as float32 732 MiB"


def _with(rng, n=2000, bits=16):
    return rng.random((n, bits)) < 0.5


def _dead(rng):
    ones = _with(rng)
    ones[:, :9] = True
    return ones


def _repeated(rng):
    ones = _with(rng)
    ones[:, 8:] = ~ones[:, :8]
    return ones


def _few(rng):
    return _with(rng, 2)[rng.integers(0, 2, 2000)]


def _one_code(rng):
    ones = _with(rng)
    ones[:1200] = ones[0]
    return ones


SIGNS = {
    _dead: ("9 of 16 bits are dead",),
    _repeated: ("8 of 16 living bits repeat another one",),
    _one_code: ("60% of the items have the same code",),
}


@pytest.mark.parametrize("make", SIGNS)
def test_each_sign_of_collapse_is_told_in_words(make):
    stats = describe(pack(make(np.random.default_rng(0))), 16)
    assert stats.signs == SIGNS[make]
    assert stats.collapsed
    assert str(stats).startswith(f"COLLAPSED ({SIGNS[make][0]})")


def test_few_codes_and_a_single_one():
    assert "2 distinct codes for 2,000 items" in describe(pack(_few(np.random.default_rng(0))), 16).signs
    same = describe(pack(np.ones((50, 16))), 16)
    assert same.signs == ("16 of 16 bits are dead", "1 distinct code for 50 items")
    assert (same.entropy, same.correlation, same.distance) == (0, 0, 0)
    assert describe(pack(np.ones((1, 16))), 16).signs == (), "one item says nothing"


def test_healthy_codes_have_no_sign():
    rng = np.random.default_rng(0)
    for n, bits in ((2, 16), (15, 64), (16, 4096), (50, 16), (5000, 64)):
        stats = describe(pack(rng.standard_normal((n, bits))), bits)
        assert not stats.collapsed
        assert not str(stats).startswith("COLLAPSED")


def test_bits_that_are_opposite_on_two_sides():
    rng = np.random.default_rng(0)
    image, text = rng.random((200, 12)) < 0.5, rng.random((300, 12)) < 0.5
    image[:, :3], text[:, :3] = True, False
    image[:, 3], text[:, 3] = False, True
    image[:4, 0] = False  # nearly always is enough
    a, b = describe(pack(image), 12), describe(pack(text), 12)
    assert opposed_bits(a, b) == opposed_bits(b, a) == 4
    assert opposed_bits(a, a) == 0
    few = describe(pack(text[:7]), 12)
    assert opposed_bits(a, few) == opposed_bits(few, few) == 0, "by chance"
    with pytest.raises(ValueError, match="opposed_bits: b must be of 12 bits like a, got 8"):
        opposed_bits(a, describe(pack(image[:, :8]), 8))


def test_torch_and_json():
    packed = codes.pack(torch.randn(20, 12, generator=torch.Generator().manual_seed(0)))
    stats = describe(packed, 12)
    value = json.loads(json.dumps(stats.to_dict()))
    assert value["balance"] == stats.balance.tolist()
    assert value["distances"] == stats.distances.tolist()
    assert (value["n"], value["collapsed"], value["signs"]) == (20, False, [])


def test_no_codes():
    with pytest.raises(ValueError, match="describe: packed must have at least one row"):
        describe(np.zeros((0, 2), np.uint8), 16)
