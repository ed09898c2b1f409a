"""Ctrl-C as a request: the work stops at its next safe point; a second Ctrl-C stops at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class StopSignal:
    """Inside the ``with`` block the first SIGINT or SIGTERM sets ``requested``; a second one raises KeyboardInterrupt.

    Signal handlers belong to the main thread: elsewhere, or with ``active=False``, nothing changes.
    """

    def __init__(self, *, active: bool = True) -> None:
        self.requested = False
        self._active = active and threading.current_thread() is threading.main_thread()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        if self._active:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
