"""Indexes that the tests of this folder hand over."""

import sys

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from fasthash.search import BinaryIndex

LENGTHS = (1, 7, 8, 63, 64, 65, 128, 1000)
# A loaded machine takes long at times, and the engines warm up at the first example.
FEW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def made(bits, count, seed=0, sparse=True):
    """Random codes, some there several times, with ids from 0 to 2^63 - 1 or 0, 1, 2, ..."""
    rng = np.random.default_rng(seed)
    index = BinaryIndex(bits)
    if count:
        codes = np.packbits(rng.random((count, bits)) < 0.5, axis=1)[rng.integers(0, count, count)]
        ids = rng.choice(2**62, count, replace=False) if sparse else None
        if sparse:
            ids[0] = 2**63 - 1
        index.add(codes, ids)
    return index


@st.composite
def indexes(draw, lengths=LENGTHS, least=0):
    """An index of any of these lengths, with ids of either kind."""
    bits, count = draw(st.sampled_from(lengths)), draw(st.integers(least, 60))
    return made(bits, count, draw(st.integers(0, 99)), draw(st.booleans()))


def queries_of(index, count=5, seed=1):
    return np.packbits(np.random.default_rng(seed).random((count, index.bits)) < 0.5, axis=1)


def assert_same(got, want):
    """Every bit and every id."""
    assert got.bits == want.bits
    np.testing.assert_array_equal(got.ids, want.ids)
    np.testing.assert_array_equal(got.codes, want.codes)


def without(monkeypatch, *modules):
    """As if these packages were not installed."""
    from fasthash.features import _packages

    for name in [name for name in sys.modules if name.partition(".")[0] in modules]:
        monkeypatch.delitem(sys.modules, name)
    installed = _packages.is_installed
    monkeypatch.setattr(_packages, "is_installed", lambda name: name not in modules and installed(name))
