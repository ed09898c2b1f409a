"""A run: what is done is skipped, the rest goes through Ray Data; the manifest is written last."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fasthash
from fasthash._machine import now, provenance
from fasthash._progress import RowProgress
from fasthash.distributed.encoding import _dataset, _pipeline
from fasthash.distributed.encoding._asked import Asked
from fasthash.distributed.encoding._encoded import NAMED, Encoded, shards_are_there, shards_of
from fasthash.distributed.encoding._folder import SHARDS, OutFolder
from fasthash.distributed.encoding._models import SharedModel
from fasthash.distributed.encoding._parts import Part
from fasthash.distributed.encoding._sources import Corpus
from fasthash.distributed.encoding._worker import Job
from fasthash.features._progress import Progress


@dataclass
class Tally:
    """What the reports of workers add up to, beside the parts that were there before."""

    parts: dict[str, Part]
    computed: int = 0
    seen: int = 0  # rows that came out of a dataset
    batch: int | None = None
    workers: set[str] = field(default_factory=set)
    deaths: int = 0
    rows: int = field(init=False)  # that are done, those that were skipped among them

    def __post_init__(self) -> None:
        self.rows = sum(part.seen for part in self.parts.values())

    def add(self, report: dict[str, Any]) -> None:
        """One more report."""
        if report["file"]:
            skipped = tuple((row, place, why) for row, place, why in report["skipped"])
            part = Part(report["file"], report["rows"], skipped)
            self.rows += part.seen - (self.parts[part.file].seen if part.file in self.parts else 0)
            self.parts[part.file] = part
        self.computed += report["computed"]
        self.seen += report.get("seen", 0)
        self.workers.add(report["worker"])
        self.deaths += report["deaths"]
        if report["batch"] is not None:
            self.batch = min(self.batch or report["batch"], report["batch"])

    @property
    def skipped(self) -> list[tuple[int, str, str]]:
        """(id, place, why) of all rows that have no code, by id."""
        return sorted(row for part in self.parts.values() for row in part.skipped)


def run(asked: Asked, out: Path, shards: int | None, overwrite: bool, progress: Progress) -> Encoded:
    """Encode what is not done yet, write the manifest, then the shards."""
    started = now()
    _pipeline.start_ray()
    shared = asked.share()
    reads = not isinstance(asked.source, Corpus)
    gpus = _pipeline.gpu_share(asked.options.gpus)
    actors = _pipeline.actor_count(asked.options.concurrency, gpus, reads=reads)
    folder = OutFolder(out, asked.key(shared.checksum))
    with folder.taken(overwrite=overwrite) as manifest:
        tally, began = Tally(folder.parts(shared.checksum)), time.monotonic()
        whole = manifest is not None and {part["file"] for part in manifest["parts"]} == set(tally.parts)
        if not whole:
            folder.begin()
            _encode(asked, shared, out, tally, (actors, gpus), progress)
        seconds = time.monotonic() - began
        made = Encoded(
            folder=out, bits=asked.model.bits, side=asked.options.side, rows=sum(p.rows for p in tally.parts.values()),
            skipped=len(tally.skipped), computed=tally.computed, seconds=seconds, actors=len(tally.workers),
            gpus=gpus, restarts=tally.deaths, batch_size=tally.batch, damaged=tuple(tally.skipped[:NAMED]),
            shards=None if shards is None else out / SHARDS,
        )  # fmt: skip
        if not whole:
            folder.finish(_ordered(tally.parts.values()), _about(asked, made, started))
        if shards is not None and not (whole and shards_are_there(out, made.rows, shards)):
            shards_of(out, shards=shards, overwrite=True, progress=progress)
    return made


def _encode(
    asked: Asked, shared: SharedModel, out: Path, tally: Tally, actors: tuple[int, float], progress: Progress
) -> None:
    """Every row that is not done; KeyboardInterrupt says how many are."""
    source, total, before = asked.source, asked.source.rows, tally.rows
    with RowProgress("encoding", total or 0, before, progress if total else False) as bar:
        try:
            bar.done(before)
            with closing(_reports(asked, shared, out, tally, actors)) as reports:
                for report in reports:
                    tally.add(report)
                    bar.done(tally.rows)
        except KeyboardInterrupt:
            rows = f"{tally.rows:,}" + (f" of {total:,}" if total else "")
            raise KeyboardInterrupt(f"encode: stopped: {rows} rows are done, the same call goes on") from None
    if not isinstance(source, Corpus):
        _dataset.check_whole(tally.parts, tally.seen, out)
    elif tally.rows != source.rows:
        raise RuntimeError(f"encode: {out} must have {source.rows} rows when all is done, got {tally.rows}")


def _reports(
    asked: Asked, shared: SharedModel, out: Path, tally: Tally, actors: tuple[int, float]
) -> Generator[dict[str, Any], None, None]:
    source, options = asked.source, asked.options
    about = {"side": options.side, "model": shared.checksum, "fasthash": fasthash.__version__}
    job = Job(
        model=shared, bits=asked.model.bits, width=asked.width, side=options.side, what=source.what,
        damaged=options.damaged, batch_size=options.batch_size, workers=actors[0],
        device="cuda" if actors[1] else "cpu", out=str(out.absolute()), keyed=source.keyed, about=about,
    )  # fmt: skip
    if isinstance(source, Corpus):
        blocks = [block for block in source.blocks(asked.rows) if block.part not in tally.parts]
        yield from _pipeline.run_blocks(job, source.reader, blocks, *actors)
    else:
        yield from _dataset.reports(job, source, tally.parts, asked.rows, *actors)


def _ordered(parts: Iterable[Part]) -> list[Part]:
    return sorted(parts, key=lambda part: part.file)


def _about(asked: Asked, made: Encoded, started: str) -> dict[str, Any]:
    """What the manifest says beside the parts."""
    said = made.to_dict()
    last = {name: said[name] for name in ("computed", "actors", "gpus", "restarts", "batch_size", "rows_per_second")}
    files = {"files": asked.source.listed()} if isinstance(asked.source, Corpus) else {}
    about = {name: said[name] for name in ("bits", "side", "rows", "skipped", "damaged")}
    how = {"damaged": asked.options.damaged, "info": asked.model.info}
    return {**about, **files, "run": provenance(started=started, seconds=made.seconds, **how, last_call=last)}
