"""What an encoding made, and the folder of shards that is searched."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fasthash._arguments import whole_number
from fasthash.distributed.encoding._folder import MANIFEST, SHARDS, read_json
from fasthash.features._progress import Progress
from fasthash.search import Shards, write_shards
from fasthash.search.shard_files import read_shard_list

NAMED = 1000  # rows left out that the manifest names


@dataclass(frozen=True)
class Encoded:
    """A corpus whose codes lie in a folder of Parquet parts.

    Args:
        rows: codes in the folder; skipped: rows of the corpus that could not be read and have none.
        computed: rows that this call encoded; the others were done before.
        seconds: of this call's encoding, with reading and decoding.
        actors, gpus: workers, and GPUs of each. restarts: workers that died over a block and were started again.
        batch_size: rows through the networks at once, the fewest of any worker; None where nothing was computed.
        damaged: (id, place, why) of the first thousand rows that were skipped.
        shards: the folder of shards, where one was asked for.
    """

    folder: Path
    bits: int
    side: str
    rows: int
    skipped: int
    computed: int
    seconds: float
    actors: int
    gpus: float
    restarts: int
    batch_size: int | None
    damaged: tuple[tuple[int, str, str], ...] = ()
    shards: Path | None = None

    @property
    def rows_per_second(self) -> float:
        """Of this call."""
        return self.computed / self.seconds if self.computed else 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        named = [{"id": row, "place": place, "why": why} for row, place, why in self.damaged]
        said = asdict(self) | {"folder": str(self.folder), "damaged": named, "seconds": round(self.seconds, 3)}
        shards = None if self.shards is None else str(self.shards)
        return said | {"rows_per_second": round(self.rows_per_second, 1), "shards": shards}


def shards_of(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    shards: int = 1,
    overwrite: bool = False,
    progress: Progress = None,
) -> Shards:
    """The codes of a finished encoding as a folder of shards, for `fasthash.search.load` and `ShardedIndex.load`.

    Args:
        folder: what `encode` wrote.
        out: the folder of shards; None: ``shards`` within ``folder``.
        shards: how many at most, all but the last of the same size.
        overwrite: replace a folder of shards that is there already.
        progress: a callback (done, total), or True for a bar in a terminal.
    Returns:
        The shards, opened; memory held one of them at a time.
    Raises:
        FileNotFoundError: the encoding is not finished. FileExistsError: ``out`` has shards already.
        ValueError: a part has other rows than the manifest says.
    """
    from fasthash.interop.arrow import parquet_batches

    folder = Path(folder)
    try:
        manifest = read_json(folder / MANIFEST)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"shards_of: {folder} has no {MANIFEST}: no finished encoding") from None
    rows = manifest["rows"]
    size = _shard_size(rows, whole_number(shards, 1, sys.maxsize, "shards_of", "shards"))
    codes = parquet_batches(folder, manifest["bits"])
    if len(codes) != rows:
        raise ValueError(f"shards_of: {folder} must have the {rows} codes of {MANIFEST}, got {len(codes)}")
    target = folder / SHARDS if out is None else Path(out)
    return write_shards(
        target, codes.batches(), manifest["bits"], rows_per_shard=size, overwrite=overwrite, count=rows,
        progress=progress,
    )  # fmt: skip


def shards_are_there(folder: Path, rows: int, shards: int) -> bool:
    """Whether a finished encoding has its folder of shards. ValueError: of another number, and maybe changed since."""
    try:
        there = len(read_shard_list(folder / SHARDS, "encode").shards)
    except FileNotFoundError:
        return False
    size = _shard_size(rows, shards)
    if rows and there != -(-rows // size):
        raise ValueError(
            f"encode: {folder / SHARDS} has {there} shards already, got shards={shards}; "
            "remove that folder, or make others elsewhere by shards_of"
        )
    return True


def _shard_size(rows: int, shards: int) -> int:
    return max(1, -(-rows // shards))
