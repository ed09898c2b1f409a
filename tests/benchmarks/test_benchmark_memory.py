"""Peak memory of a call: native memory counts, also when it is given back before the call ends."""

import subprocess
import sys
from pathlib import Path

import pytest
from memory import peak_of, supported

pytestmark = pytest.mark.skipif(not supported(), reason="counts of /proc that can be reset: Linux")
MIB = 1 << 20
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PROGRAM = """
import numpy as np
from memory import peak
MIB = 1 << 20
def several():
    np.ones(32 * MIB, np.uint8).sum()
    np.ones(32 * MIB, np.uint8).sum()
    return np.ones(48 * MIB, np.uint8)
print(peak({call}))
"""


def peak_in_a_fresh_process(call):
    """This process holds memory that earlier tests gave back: a call could live on that without growing it."""
    command = [sys.executable, "-c", PROGRAM.format(call=call)]
    return int(subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=True).stdout)


def test_peak_counts_native_memory_that_is_given_back():
    assert 62 * MIB < peak_in_a_fresh_process("lambda: np.ones(64 * MIB, np.uint8).sum()") < 80 * MIB
    assert peak_in_a_fresh_process("lambda: None") < 4 * MIB


def test_peak_counts_what_is_returned_and_the_largest_moment_only():
    assert 46 * MIB < peak_in_a_fresh_process("several") < 64 * MIB


def test_contestant_in_a_process_of_its_own():
    name = "64 bits, N 2,000, Q 4, 1 thread"
    assert 0 <= peak_of("hamming_filter", name, "keeps 50 %", quick=True) < 64 * MIB
    with pytest.raises(RuntimeError, match="memory: nobody of .* failed: KeyError: 'nobody'"):
        peak_of("hamming_filter", name, "nobody", quick=True)
