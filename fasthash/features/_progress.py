"""Progress of long steps: a callback, a bar in a terminal, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fasthash.features._packages import is_installed

Progress = Callable[[int, int], None] | bool | None  # callback (done, total); True: a bar when stderr is a terminal


@contextmanager
def progress_bar(title: str, total: int, progress: Progress) -> Iterator[Callable[[int], None]]:
    """Yields what is to be called with the number of items done."""
    if callable(progress):
        callback = progress
        yield lambda done: callback(done, total)
    elif progress and sys.stderr.isatty() and is_installed("rich"):
        from rich.console import Console  # late: rich is optional
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=total)
            yield lambda done: bar.update(task, completed=done)
    else:
        yield lambda done: None
