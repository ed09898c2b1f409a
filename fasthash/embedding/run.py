"""An encoder over a prepared folder, once: features that every method takes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fasthash._fabric import device_name, fabric_of
from fasthash._interrupt import StopSignal
from fasthash._progress import RowProgress
from fasthash.data.prepared import Folder
from fasthash.embedding._network import NetworkEncoder
from fasthash.embedding._rows import CAPTIONS, DAMAGED, Column, device_batch, row_features
from fasthash.embedding._shares import Shares
from fasthash.embedding.encoders import Encoder, encoder
from fasthash.embedding.plain import Picked, PlainEncoder, description
from fasthash.features import Extractor
from fasthash.features._progress import Progress
from fasthash.features.base import is_registered
from fasthash.features.matrix_file import matrix_blocks
from fasthash.features.matrix_writer import MatrixWriter

OP = "embed"
_NAMED = 100  # rows of zeros named in the record


@dataclass(frozen=True)
class Made:
    """One set of features that a run made, or found made by the same encoder before."""

    side: str  # image or text
    name: str
    rows: int
    width: int
    computed: int  # rows that this process computed now; the others were there
    seconds: float  # for those rows, with reading and decoding
    encoder: dict[str, Any]
    zeros: int  # pictures that could not be read, kept as rows of zeros

    @property
    def rows_per_second(self) -> float:
        return self.computed / self.seconds if self.computed else 0.0


@dataclass(frozen=True)
class Embedded:
    """What `embed` made."""

    folder: Path
    sets: tuple[Made, ...]
    device: str
    precision: str
    processes: int = 1  # each computed its share
    first: bool = True  # whether this is the process that speaks for all

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        sets = [asdict(made) | {"rows_per_second": round(made.rows_per_second, 1)} for made in self.sets]
        how = {"device": self.device, "precision": self.precision, "processes": self.processes}
        return {"folder": str(self.folder), **how, "sets": sets}


@dataclass(frozen=True)
class _Job:
    """One side of a run, checked before anything is computed."""

    side: str
    name: str
    encoder: Encoder
    column: Column
    description: dict[str, Any]
    fitted_on: str | None


@dataclass(frozen=True)
class _Settings:
    captions: str
    damaged: str
    batch_size: int | None
    workers: int | None
    precision: str
    resume: bool
    overwrite: bool
    progress: Progress


def embed(
    folder: str | os.PathLike[str] | Folder,
    *,
    image: str | Extractor | None = None,
    text: str | Extractor | None = None,
    name: str | None = None,
    split: str | None = None,
    image_options: Mapping[str, Any] | None = None,
    text_options: Mapping[str, Any] | None = None,
    captions: str = "join",
    damaged: str = "refuse",
    batch_size: int | None = None,
    device: str = "auto",
    precision: str = "32-true",
    workers: int | None = None,
    resume: bool = True,
    overwrite: bool = False,
    progress: Progress = True,
) -> Embedded:
    """Run encoders over the pictures and texts of a prepared folder and keep the features in it.

    Rows stream through: memory does not grow with their number. After a kill or Ctrl-C the same call goes on from the
    rows that are done. Under torchrun each process takes a share of the rows of the same folder, and the first joins
    them. Batch size, workers, processes and interruptions change the features by rounding alone.

    Args:
        folder: of `fasthash data prepare`.
        image, text: encoders (`encoders`), such as "clip:FOLDER", "imagenet", "minilm", "bow", or extractors of your
            own; one or both.
        name: of the sets of features; default the encoder's first word, such as clip, or an extractor's kind.
        split: whose training rows an encoder is fitted on, for those that are fitted; default the first.
        image_options, text_options: of the encoders.
        captions: join, first, or mean (of the features of all), for pairs with several.
        damaged: refuse, or zeros for pictures that cannot be read; those are counted and named.
        batch_size: items in the network at a time; default 8 pictures or 32 texts on a CPU, 128 or 512 on a GPU.
        device: auto, cpu, cuda or mps.
        precision: 32-true, bf16-mixed or 16-mixed (the last on CUDA alone).
        workers: threads that read and decode; default the CPUs, 4 for a GPU.
        resume: False computes all rows anew.
        overwrite: take the place of a set of this name, and of rows left by other settings.
        progress: a callback (done, total), True for a bar in a terminal, or False.
    Raises:
        ValueError, FileNotFoundError, RuntimeError: one line.
        KeyboardInterrupt: after Ctrl-C, when the rows so far are safe; says how many.
    """
    _check(image, text, captions, damaged, batch_size, workers)
    _check_used(image, text, image_options, text_options, captions, damaged)
    home = folder if isinstance(folder, Folder) else Folder(folder, op=OP)
    home.split(split)  # there is none of that name: said now
    fabric = fabric_of(device, precision, OP)
    specs = {"image": (image, image_options or {}), "text": (text, text_options or {})}
    jobs = [
        _job(home, side, spec, options, name, split, captions, precision, overwrite)
        for side, (spec, options) in specs.items()
        if spec is not None
    ]
    if damaged == "zeros" and any(job.side == "image" and isinstance(job.encoder, PlainEncoder) for job in jobs):
        raise ValueError(f"{OP}: damaged=zeros is for encoders by name, an extractor of your own reads its pictures")
    settings = _Settings(captions, damaged, batch_size, workers, precision, resume, overwrite, progress)
    with StopSignal() as stop:
        sets = tuple(_run(home, job, fabric, settings, stop) for job in jobs)
    where = device_name(fabric.device.type)
    return Embedded(home.path, sets, where, precision, fabric.world_size, fabric.global_rank == 0)


def _check(image: Any, text: Any, captions: str, damaged: str, batch_size: int | None, workers: int | None) -> None:
    if image is None and text is None:
        raise ValueError(f"{OP}: nothing to do: name an image or a text encoder")
    for what, value, known in (("captions", captions, CAPTIONS), ("damaged", damaged, DAMAGED)):
        if value not in known:
            raise ValueError(f"{OP}: {what} must be one of {', '.join(known)}, got {value!r}")
    for what, number in (("batch_size", batch_size), ("workers", workers)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
            raise ValueError(f"{OP}: {what} must be a whole number from 1, got {number!r}")


def _check_used(image: Any, text: Any, image_options: Any, text_options: Any, captions: str, damaged: str) -> None:
    """An option of a side that is not computed would do nothing."""
    given = {"image": {"image_options": image_options, "damaged": damaged != "refuse"}}
    given["text"] = {"text_options": text_options, "captions": captions != "join"}
    for side, spec in (("image", image), ("text", text)):
        for option in [name for name, value in given[side].items() if value and spec is None]:
            raise ValueError(f"{OP}: {option} is for an encoder of the {side} side, and none is named")


def _job(
    home: Folder,
    side: str,
    spec: str | Extractor,
    options: Mapping[str, Any],
    name: str | None,
    split: str | None,
    captions: str,
    precision: str,
    overwrite: bool,
) -> _Job:
    items = home.items
    column: Any = items.pictures if side == "image" else items.captions
    if column is None:
        what = "pictures, an image" if side == "image" else "texts, a text"
        raise ValueError(f"{OP}: {home.record.name} has no {what} encoder needs them")
    fitted_on = None

    def train_texts() -> Picked:
        nonlocal fitted_on
        fitted_on = split or next(iter(home.record.splits))
        texts: Any = items.texts("first" if captions == "first" else "join")
        return Picked(texts, home.split(fitted_on).train)

    made = encoder(spec, side=side, train_texts=train_texts, **options)
    said = description(made.extractor())
    said |= {"precision": precision} if isinstance(made, NetworkEncoder) else {}
    said |= {"captions": captions} if side == "text" else {}
    default = spec.partition(":")[0] if isinstance(spec, str) else str(said["kind"])
    job = _Job(side, name or default, made, column, said, fitted_on)
    if not _is_made(home, job):
        home.check_set(side, job.name, overwrite=overwrite)
    return job


def _is_made(home: Folder, job: _Job) -> bool:
    """Whether the set is there, from the same encoder."""
    found = home.record.features(job.side).get(job.name)
    if found is None or found.fitted_on != job.fitted_on:
        return False
    return {key: value for key, value in found.encoder.items() if key != "zeros"} == job.description


def _run(home: Folder, job: _Job, fabric: Any, settings: _Settings, stop: StopSignal) -> Made:
    if _is_made(home, job) and not settings.overwrite:
        found = home.record.features(job.side)[job.name]
        zeros = found.encoder.get("zeros", {}).get("count", 0)
        return Made(job.side, job.name, home.rows, found.width, 0, 0.0, found.encoder, zeros)
    place = home.path / "features" / job.side
    place.mkdir(parents=True, exist_ok=True)
    shares = Shares(place, job.name, home.rows, fabric.global_rank, fabric.world_size)
    key = {"encoder": job.description, "items": _items_digest(home)}
    if fabric.global_rank == 0:
        shares.check_leftovers(remove=settings.overwrite or not settings.resume)
    writer, computed, seconds = _write(job, shares, key, fabric, settings, stop)
    said, zeros = job.description, 0
    if fabric.global_rank == 0:
        matrix = shares.join(writer, job.encoder.width, key, lambda: _stopped(stop, writer))
        if settings.damaged == "zeros":
            found_zeros = _zero_rows(matrix)
            zeros = len(found_zeros)
            said = said | ({"zeros": {"count": zeros, "rows": found_zeros[:_NAMED]}} if zeros else {})
        extractor = job.encoder.extractor()
        home.add_features(
            job.side, job.name, matrix, said, extractor=extractor if is_registered(extractor) else None,
            fitted_on=job.fitted_on, overwrite=settings.overwrite,
        )  # fmt: skip
    return Made(job.side, job.name, home.rows, job.encoder.width, computed, seconds, said, zeros)


def _write(
    job: _Job, shares: Shares, key: Any, fabric: Any, settings: _Settings, stop: StopSignal
) -> tuple[MatrixWriter, int, float]:
    """This process's rows onto the disk; the finished writer, rows computed, seconds."""
    first, last = shares.span(shares.rank)
    if first == last:
        raise ValueError(f"{OP}: {shares.rows} rows are too few for {shares.world} processes")
    own = shares.key(key, shares.rank)
    make: Callable[[bool], MatrixWriter] = lambda resume: MatrixWriter(  # noqa: E731
        shares.path(shares.rank), last - first, job.encoder.width, own, resume=resume
    )
    try:
        writer = make(settings.resume)
    except ValueError:
        if not settings.overwrite:
            raise
        writer = make(False)
    fabric.barrier()  # nobody joins what another process is about to begin anew
    began, before = time.perf_counter(), writer.done
    size = device_batch(job.encoder, fabric.device, settings.batch_size)
    title = f"{job.side} features {job.name}"
    show = settings.progress if shares.rank == 0 else False
    blocks = row_features(
        job.encoder, job.column, first + before, last, size=size, captions=settings.captions, device=fabric.device,
        precision=settings.precision, workers=settings.workers, zeros=settings.damaged == "zeros",
    )  # fmt: skip
    with writer, closing(blocks), RowProgress(title, last - first, before, show) as bar:
        bar.done(before)
        for block in blocks if before < last - first else ():
            writer.append(block)
            bar.done(writer.done)
            _stopped(stop, writer)
        writer.finish()
    return writer, writer.done - before, time.perf_counter() - began


def _stopped(stop: StopSignal, writer: MatrixWriter) -> None:
    if stop.requested:
        raise KeyboardInterrupt(
            f"{OP}: interrupted, {writer.done:,} of {writer.rows:,} rows are done: the same command goes on from there"
        )


def _items_digest(home: Folder) -> str:
    """Of the file that says which pictures and texts the rows are."""
    return home.record.files["items.parquet"].sha256


def _zero_rows(matrix: Path) -> list[int]:
    found, start = [], 0
    for block in matrix_blocks(matrix, OP):
        found += (start + np.flatnonzero(~block.any(axis=1))).tolist()
        start += len(block)
    return found
