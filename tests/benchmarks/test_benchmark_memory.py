"""Peak memory of a call: native memory counts, also when it is given back before the call ends."""

import numpy as np
import pytest
from memory import peak, peak_of, supported

pytestmark = pytest.mark.skipif(not supported(), reason="counts of /proc that can be reset: Linux")
MIB = 1 << 20


def test_peak_counts_native_memory_that_is_given_back():
    found = peak(lambda: np.ones(64 * MIB, np.uint8).sum())
    assert 62 * MIB < found < 80 * MIB
    assert peak(lambda: None) < 4 * MIB


def test_peak_counts_what_is_returned_and_the_largest_moment_only():
    def call():
        np.ones(32 * MIB, np.uint8).sum()
        np.ones(32 * MIB, np.uint8).sum()
        return np.ones(48 * MIB, np.uint8)

    assert 46 * MIB < peak(call) < 64 * MIB


def test_contestant_in_a_process_of_its_own():
    name = "64 bits, N 2,000, Q 4, 1 thread"
    assert 0 <= peak_of("hamming_filter", name, "keeps 50 %", quick=True) < 64 * MIB
    with pytest.raises(RuntimeError, match="memory: nobody of .* failed: KeyError: 'nobody'"):
        peak_of("hamming_filter", name, "nobody", quick=True)
