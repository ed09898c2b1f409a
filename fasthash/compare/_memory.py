"""The most memory a process holds while something runs."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """Inside the ``with`` block: ``start``, resident bytes at its beginning; after it ``peak``, the most within it.

    Linux can start counting anew; elsewhere the peak is that of the process since it began, and ``start`` is None.
    """

    def __init__(self) -> None:
        self.start: int | None = None
        self.peak: int | None = None

    def __enter__(self) -> PeakMemory:
        try:
            _CLEAR.write_text("5")  # proc(5): the peak becomes the present size
            self.start = _status("VmRSS")
        except OSError:
            pass
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.peak = _whole_process() if self.start is None else _status("VmHWM")


def _status(name: str) -> int | None:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    return None


def _whole_process() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
