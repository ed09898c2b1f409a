"""What runs in a worker of Ray Data: blocks of a corpus, or batches of a dataset -> parts, and a report of each."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.codes import packed_width
from fasthash.distributed.encoding import _store
from fasthash.distributed.encoding._cells import FEATURES, feature_rows, raw_rows
from fasthash.distributed.encoding._encoder import RowEncoder
from fasthash.distributed.encoding._models import SharedModel
from fasthash.distributed.encoding._parts import TRIES, Part, read_part, write_part
from fasthash.distributed.encoding._rows import Rows
from fasthash.distributed.encoding._sources import Block, Reader

MOST_TRIES = 4  # of a block


@dataclass(frozen=True)
class Job:
    """What every worker is told."""

    model: SharedModel
    bits: int
    width: int  # of the features the model takes
    side: str
    what: str
    damaged: str
    batch_size: int | None
    workers: int
    device: str
    out: str
    keyed: bool  # whether rows have keys
    about: Mapping[str, str]  # metadata of each part


class Worker:
    """One model; loaded at the first block, so that what goes wrong comes back as a report like any other."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.deaths = 0  # of workers over the block in hand
        self._encoder: RowEncoder | None = None

    @property
    def name(self) -> str:
        """Of the actor; the same after a restart."""
        import ray

        return ray.get_runtime_context().get_actor_id() or "" if ray.is_initialized() else ""

    @property
    def encoder(self) -> RowEncoder:
        if self._encoder is None:
            job = self.job
            model = job.model.load(job.device)
            self._encoder = RowEncoder(model, job.side, job.what, job.damaged, job.batch_size, job.workers)
        return self._encoder

    def report(self, make: Callable[[], tuple[Part, int]]) -> str:
        """JSON: the part that ``make`` made and how many rows it encoded now; or what went wrong, in one line."""
        self.deaths = 0
        try:
            part, computed = make()
        except Exception as error:  # told in one line by the driver; Ray would print the stacks of both processes
            kind = "FileNotFoundError" if isinstance(error, FileNotFoundError) else type(error).__name__
            return json.dumps({"error": " ".join(str(error).split()) or kind, "kind": kind})
        said = {"file": part.file, "rows": part.rows, "skipped": part.skipped, "computed": computed}
        said |= {"batch": self.encoder.batch if computed else None, "deaths": self.deaths}
        return json.dumps({**said, "worker": self.name})

    def write(self, name: str, read: Callable[[int], Iterable[Rows]]) -> Part:
        """Encode the rows that ``read(step)`` gives and write them as the part of this name.

        Raises:
            RuntimeError: worker after worker died over it. Ray would try for ever, so each try leaves a mark.
        """
        tries = Path(self.job.out, TRIES.replace("*", name))
        self.deaths = len(tries.read_bytes()) if tries.exists() else 0
        if self.deaths >= MOST_TRIES:
            tries.unlink()
            raise RuntimeError(f"encode: {name} cannot be made: {self.deaths} workers died over it")
        with tries.open("ab") as file:
            file.write(b".")
        try:
            return self._written(name, read(self.encoder.step))
        finally:
            tries.unlink(missing_ok=True)

    def _written(self, name: str, parts: Iterable[Rows]) -> Part:
        encoder, job = self.encoder, self.job
        ids, codes = [np.empty(0, np.int64)], [np.empty((0, packed_width(job.bits)), np.uint8)]
        keys: list[str] = []
        encoder.take_skipped()
        for rows, made in encoder.encode(parts):
            ids.append(rows.ids)
            codes.append(made)
            keys += rows.keys or ()
        path, named = Path(job.out, name), keys if job.keyed else None
        skipped = encoder.take_skipped()
        return write_part(path, job.bits, np.concatenate(ids), np.concatenate(codes), named, skipped, job.about)


class BlockWorker(Worker):
    """Encodes blocks of a corpus on disk.

    Args:
        reader: of the corpus.
    """

    def __init__(self, job: Job, reader: Reader) -> None:
        super().__init__(job)
        self.reader = reader

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """{"block": pickled `Block`s} -> {"report": JSON}."""
        reports = [self.report(lambda block=block: self._part(pickle.loads(block))) for block in batch["block"]]  # type: ignore[misc]
        return {"report": np.array(reports, object)}

    def _part(self, block: Block) -> tuple[Part, int]:
        path = Path(self.job.out, block.part)
        # of a worker that was killed after it wrote the part and before it could say so
        found = read_part(path, self.job.model.checksum) if path.exists() else None
        if found is not None:
            return found, 0
        return self.write(block.part, lambda step: self.reader.read(block.spans, step)), len(block)


class BatchWorker(Worker):
    """Encodes batches of a `ray.data.Dataset`; rows whose ids are done are left out.

    Args:
        done: reference to the ids in finished parts, int64 ascending.
    """

    def __init__(self, job: Job, column: str, id_column: str, done: Any) -> None:
        super().__init__(job)
        self.column, self.id_column, self._done = column, id_column, done

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Columns as arrays -> {"report": JSON}; "seen" is the rows of the batch, done before or not."""
        report = json.loads(self.report(lambda: self._part(batch)))
        return {"report": np.array([json.dumps({**report, "seen": len(batch[self.column])})], object)}

    def _part(self, batch: dict[str, Any]) -> tuple[Part, int]:
        ids = _ids(batch[self.id_column], self.id_column)
        new = np.flatnonzero(~_within(ids, self.done))
        if not len(new):
            return Part("", 0), 0
        ids = ids[new]
        name = f"part-{hashlib.sha256(ids.tobytes()).hexdigest()[:24]}.parquet"  # the same rows, the same part
        path = Path(self.job.out, name)
        found = read_part(path, self.job.model.checksum) if path.exists() else None
        if found is not None:
            return found, 0
        cells = batch[self.column]
        places = [f"row of id {i}" for i in ids]
        chosen = cells[new] if isinstance(cells, np.ndarray) else [cells[i] for i in new]
        return self.write(name, lambda step: [self._rows(ids, chosen, places)]), len(ids)

    @property
    def done(self) -> NDArray[np.int64]:
        found: NDArray[np.int64] = _store.get(self._done)
        return found

    def _rows(self, ids: NDArray[np.int64], cells: Any, places: Sequence[str]) -> Rows:
        items, faults = (
            feature_rows(cells, self.job.width)
            if self.job.what == FEATURES
            else raw_rows(list(cells), self.job.what, None, places)
        )
        return Rows(ids, items, places, faults)


def _ids(column: Any, name: str) -> NDArray[np.int64]:
    ids = np.asarray(column)
    if not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"encode: id_column {name} must hold integers, got {ids.dtype}")
    if len(ids) and int(ids.min()) < 0:
        raise ValueError(f"encode: ids must be from 0, got {int(ids.min())}")
    return np.ascontiguousarray(ids, np.int64)


def _within(ids: NDArray[np.int64], ordered: NDArray[np.int64]) -> NDArray[np.bool_]:
    if not len(ordered):
        return np.zeros(len(ids), np.bool_)
    at = np.minimum(np.searchsorted(ordered, ids), len(ordered) - 1)
    found: NDArray[np.bool_] = ordered[at] == ids
    return found
