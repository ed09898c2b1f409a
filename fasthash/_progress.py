"""Progress of a training run in the terminal: epochs, loss, mAP; silent where rich is missing."""

from __future__ import annotations

from types import TracebackType
from typing import Any


class TrainingProgress:
    """A bar over epochs with the live loss and the latest mAP of both directions."""

    def __init__(self, title: str, epochs: int, *, show: bool) -> None:
        self._bar: Any = None
        self._task: Any = None
        if show:
            self._bar = _rich_bar()
        if self._bar is not None:
            self._task = self._bar.add_task(title, total=epochs, note="")
        self._map = ""

    def __enter__(self) -> TrainingProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance_to(self, epoch: int, history: list[dict[str, Any]]) -> None:
        """Show a resumed run where it stands."""
        if self._bar is not None and epoch:
            self._bar.update(self._task, completed=epoch)
            for entry in history:
                self._remember(entry)

    def epoch_done(self, entry: dict[str, Any]) -> None:
        """One more epoch; entry is its line of the history."""
        if self._bar is None:
            return
        self._remember(entry)
        loss = " ".join(f"{key.removeprefix('loss_')} {value:.4g}" for key, value in entry.items() if "loss_" in key)
        self._bar.update(self._task, advance=1, note=f"loss {loss}{self._map}")

    def _remember(self, entry: dict[str, Any]) -> None:
        if "i2t" in entry:
            self._map = f" · mAP i→t {entry['i2t']:.3f} t→i {entry['t2i']:.3f}"


def _rich_bar() -> Any:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        return None
    columns = [
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    ]
    return Progress(*columns, console=Console(stderr=True))
