"""One matrix from several processes: each writes a share of the rows into a file of its own, the first joins them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fasthash.features.matrix_file import matrix_blocks, write_matrix
from fasthash.features.matrix_writer import MatrixWriter

_LOOK_SECONDS = 0.2


class Shares:
    """Where the processes of a run write.

    Args:
        folder: that all of them reach.
        name: of the set of features.
        rows: of all.
        rank, world: this process, and how many there are.
    """

    def __init__(self, folder: Path, name: str, rows: int, rank: int, world: int) -> None:
        self.folder, self.name, self.rows, self.rank, self.world = folder, name, rows, rank, world

    def span(self, rank: int) -> tuple[int, int]:
        """Rows of a process: from, to."""
        return rank * self.rows // self.world, (rank + 1) * self.rows // self.world

    def path(self, rank: int) -> Path:
        """Its file."""
        end = "" if self.world == 1 else f"-{rank}-of-{self.world}"
        return self.folder / f".{self.name}.embedding{end}"

    def check_leftovers(self, *, remove: bool) -> None:
        """Files of an interrupted run with another number of processes.

        Raises:
            ValueError: there are some, and they are not to be removed.
        """
        own = tuple(self.path(rank).name for rank in range(self.world))
        for path in sorted(self.folder.glob(f".{self.name}.embedding*")):
            stem = path.name.removesuffix(".json").removesuffix(".partial")
            if stem in own:
                continue
            if not remove and not stem.endswith("-joined"):
                count = stem.rpartition("-")[2] if "-of-" in stem else "1"
                raise ValueError(
                    f"embed: {path} is of an interrupted run of {count} processes, this one has {self.world}: start as"
                    " many again, or begin anew (overwrite)"
                )
            path.unlink(missing_ok=True)

    def join(self, writer: MatrixWriter, width: int, key: object, stopped: Callable[[], None]) -> Path:
        """The whole matrix, once all the others have finished.

        Args:
            writer: of this process, finished.
            key: of the others' rows, without their share.
            stopped: asked while waiting; raises to give up.
        """
        if self.world == 1:
            return writer.path
        others = [rank for rank in range(self.world) if rank != self.rank and self.span(rank)[0] < self.span(rank)[1]]
        while not all(self._is_finished(rank, width, key) for rank in others):
            stopped()
            time.sleep(_LOOK_SECONDS)
        target = self.folder / f".{self.name}.embedding-joined"
        write_matrix(target, self._blocks(), self.rows, width)
        for rank in range(self.world):
            self.path(rank).unlink(missing_ok=True)
        return target

    def key(self, key: object, rank: int) -> dict[str, object]:
        """Key of the rows of one process."""
        return {"made": key, "share": list(self.span(rank))}

    def _is_finished(self, rank: int, width: int, key: object) -> bool:
        first, last = self.span(rank)
        return MatrixWriter.is_finished(self.path(rank), last - first, width, self.key(key, rank))

    def _blocks(self) -> Iterator[NDArray[np.float32]]:
        for rank in range(self.world):
            if self.span(rank)[0] < self.span(rank)[1]:
                yield from matrix_blocks(self.path(rank), "embed")
