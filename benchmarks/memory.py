"""Peak memory of one contestant, native memory too, measured in a process of its own.

python benchmarks/memory.py hamming "case name" contestant [--quick]    prints bytes

The figure is the most memory that one call holds at a time beyond what is resident when the data (and a peer's index
over it) has been made: anonymous pages, so code that is first used by the call does not count. Linux keeps the count of
resident pages in batches: take it to within half a mebibyte.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from fasthash import _native

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # what proc(5) wants in clear_refs to set VmHWM to the present resident size


def supported() -> bool:
    """Whether this system counts peaks that can be reset: Linux."""
    return CLEAR.exists()


def peak(call: Callable[[], object]) -> int:
    """Bytes that the process held at most during call(), beyond those resident before it."""
    gc.collect()
    CLEAR.write_text(RESET_PEAK)
    before = _resident()
    result = call()
    after = _resident()
    del result
    code = max(0, after["RssFile"] - before["RssFile"])  # pages of libraries that the call was the first to touch
    return max(0, after["VmHWM"] - before["VmRSS"] - code)


def peak_of(topic: str, case: str, contestant: str, *, quick: bool = False) -> int:
    """`peak` of one contestant of one case of a topic, in a fresh process.

    Raises:
        RuntimeError: the process failed; with the last line that it said.
    """
    command = [sys.executable, str(Path(__file__)), topic, case, contestant, *(["--quick"] if quick else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise RuntimeError(f"memory: {contestant} of {case!r} failed: {why}")
    return int(done.stdout.split()[-1])


def _resident() -> dict[str, int]:
    lines = (line.split() for line in STATUS.read_text().splitlines())
    return {words[0][:-1]: 1024 * int(words[1]) for words in lines if words[-1] == "kB"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topic")
    parser.add_argument("case")
    parser.add_argument("contestant")
    parser.add_argument("--quick", action="store_true", help="the case at the sizes of a quick run")
    arguments = parser.parse_args()
    report = importlib.import_module(f"cases_{arguments.topic}").report
    made = report(quick=arguments.quick).case(arguments.case)
    _native.load()  # at its first use otherwise: that is no part of a search
    print(peak(made.contestants[arguments.contestant]))


if __name__ == "__main__":
    main()
