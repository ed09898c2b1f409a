"""Progress in the terminal, of training (epochs, loss, mAP), cells and rows; silent where rich is missing."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, TypeVar

from fasthash.features._progress import Progress

Self = TypeVar("Self", bound="_Bar")


class TrainingProgress:
    """A bar over epochs, or another unit, with the live loss and the latest mAP of both directions."""

    def __init__(self, title: str, epochs: int, *, show: bool, unit: str = "epochs") -> None:
        self._live: Any = None
        self._map = ""
        if not show:
            return
        try:
            from rich.console import Console, Group
            from rich.live import Live
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
            from rich.text import Text
        except ImportError:
            return
        columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn(f"{unit},"), TimeRemainingColumn())
        self._bar = Progress(TextColumn("{task.description}"), *columns, TextColumn("left"), auto_refresh=False)
        self._task = self._bar.add_task(title, total=epochs)
        # losses and mAP on a line of their own: beside the bar they would push it out of a narrow terminal
        self._note = Text("", style="dim", no_wrap=True, overflow="ellipsis")
        self._live = Live(Group(self._bar, self._note), console=Console(stderr=True))

    def __enter__(self) -> TrainingProgress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.transient = error is not None  # an error is one line on stderr, not a bar and a line
            self._live.stop()
            if not self._live.console.is_terminal and error is None:
                self._live.console.print()  # a log file gets no line end from the last frame

    def advance_to(self, epoch: int, history: list[dict[str, Any]]) -> None:
        """Show a resumed run where it stands."""
        if self._live is not None:
            self._bar.update(self._task, completed=epoch)
            for entry in history:
                self._remember(entry)

    def epoch_done(self, entry: dict[str, Any], epochs: int | None = None) -> None:
        """One more epoch; entry is its line of the history, ``epochs`` how many there are, where that is known late."""
        if self._live is None:
            return
        self._remember(entry)
        losses = (f"{key.removeprefix('loss_')} {value:.4g}" for key, value in entry.items() if "loss_" in key)
        self._note.plain = f"loss {' '.join(losses)}{self._map}"
        self._bar.update(self._task, advance=1, total=epochs)  # None leaves it as it is

    def _remember(self, entry: dict[str, Any]) -> None:
        if "i2t" in entry:
            self._map = f" · mAP i→t {entry['i2t']:.3f} t→i {entry['t2i']:.3f}"


class _Bar:
    """A bar of rich's, or none, that runs inside a ``with`` block."""

    _bar: Any = None

    def __enter__(self: Self) -> Self:
        self._began = time.monotonic()
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()


class CellProgress(_Bar):
    """A bar over the cells of a comparison, with the time left and the line of the latest one."""

    def __init__(self, cells: int, *, show: bool) -> None:
        if not show:
            return
        try:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        except ImportError:
            return
        console = Console(stderr=True)
        if not console.is_terminal:
            return  # a log file has the line of each cell
        columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("cells,"), TimeRemainingColumn())
        # the estimate looks at the last hours: cells come minutes apart
        self._bar = Progress(
            *columns,
            TextColumn("left  {task.description}"),
            console=console,
            speed_estimate_period=7200,
            transient=True,
        )
        self._task = self._bar.add_task("", total=cells)

    def cell_done(self, line: str) -> None:
        """One more cell; line says what it gave."""
        if self._bar is not None:
            self._bar.update(self._task, advance=1, description=line)

    def refresh(self) -> None:
        """Keep the clock going between cells."""
        if self._bar is not None:
            self._bar.refresh()


class RowProgress(_Bar):
    """A bar over rows, with rows per second and the time left; or a callback (done, total).

    Args:
        first: rows that were there before; the speed leaves them out.
    """

    def __init__(self, title: str, rows: int, first: int, show: Progress) -> None:
        self._rows, self._first, self._report = rows, first, show if callable(show) else None
        if not show or callable(show):
            return
        try:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bar
        except ImportError:
            return
        console = Console(stderr=True)
        if console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn())
            self._bar = Bar(*columns, TextColumn("{task.fields[speed]}"), console=console, transient=True)
            self._task = self._bar.add_task(title, total=rows, completed=first, speed="")

    def done(self, rows: int) -> None:
        """So many are there now."""
        if self._report is not None:
            self._report(rows, self._rows)
        if self._bar is not None:
            said = ""
            if rows > self._first:
                speed = (rows - self._first) / max(time.monotonic() - self._began, 1e-9)
                left = int((self._rows - rows) / speed)
                said = f"{speed:,.0f}/s, {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
            self._bar.update(self._task, completed=rows, speed=said)
