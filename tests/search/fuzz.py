"""What the fuzzers share: their budget, the kernels, and what an error may look like."""

import os
import tracemalloc
import zlib
from contextlib import contextmanager

import numpy as np
from hypothesis import HealthCheck, settings

from fasthash import _native

BUDGET = int(os.environ.get("FASTHASH_FUZZ", "1"))  # times the examples of an ordinary run; `make sanitize` takes more

# (instruction set, block kernel) of everything a search can go through here
WAYS = [(isa, kernel) for isa in _native.isa_names() for kernel in _native.load().hamming_kernels]


@contextmanager
def going(way):
    """Searches go through one of WAYS; the evaluation of rankings has but the instruction set."""
    with _native.use_isa(way[0]), _native.use_kernel(way[1]):
        yield


def any_way(search, queries, *arguments, **options):
    """The search by whichever way follows from the bytes of its queries, the same ones always by the same."""
    with going(WAYS[zlib.crc32(np.ascontiguousarray(queries)) % len(WAYS)]):
        return search(queries, *arguments, **options)


def budget(examples):
    """Hypothesis's settings for a fuzzer; of more than an ordinary run each is another search for examples."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
    return settings(max_examples=examples * BUDGET, deadline=None, suppress_health_check=slow, print_blob=True)


def outcome(call, ops, kinds=(ValueError, TypeError)):
    """What ``call()`` returns; None when it is refused as it should be: one of ``kinds``, in one line that begins with
    one of ``ops``, and not a long one. Anything else is raised."""
    try:
        return call()
    except kinds as refused:
        error = refused
    text = str(error)
    assert text.startswith(tuple(f"{op}: " for op in ops)), repr(error)
    assert "\n" not in text, repr(error)
    assert len(text) < 600, repr(error)
    return None


def peak_of(call):
    """What ``call()`` returns, and the most bytes Python and NumPy held meanwhile beyond those held before."""
    tracemalloc.start()
    try:
        result = call()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
