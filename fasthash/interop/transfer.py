"""Codes from one place to another, named by addresses: files by their suffix, folders, tables of databases."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fasthash.features._progress import Progress
from fasthash.interop import _places
from fasthash.interop._codes import Codes
from fasthash.interop._place_moves import shown
from fasthash.interop._places import PLACES, Place
from fasthash.search import BinaryIndex, Shards

Address = str | os.PathLike[str]


def open_codes(address: Address, *, bits: int | None = None, side: str = "image") -> Codes:
    """The codes at an address, as an index or a stream of batches.

    Args:
        address: an index file of this library or of FAISS (``.safetensors``, ``.faiss``), ``.usearch``, ``.parquet`` or
            a folder of such, ``.npy`` of packed codes, a folder of shards, the folder of a run or its index,
            ``lance:FOLDER#TABLE``, ``postgresql://...#TABLE``.
        bits: code length where the place does not say it, or says it in whole bytes.
        side: "image" or "text": whose codes of a run.
    Raises:
        RuntimeError: the package the place needs is not installed.
        FileNotFoundError: nothing is there.
        ValueError: an address of no known form, or something else is there.
    """
    if side not in ("image", "text"):
        raise ValueError(f"open_codes: side must be image or text, got {side!r}")
    where = _places.run_index(address, side)
    found = place_of(where, "open_codes").read(where, bits)
    if bits not in (None, found.bits):
        raise ValueError(f"open_codes: {shown(where)} has codes of {found.bits} bits, got bits {bits}")
    return found


def write_codes(
    codes: Codes,
    address: Address,
    *,
    kind: str | None = None,
    pad: bool = False,
    overwrite: bool = False,
    progress: Progress = None,
) -> None:
    """Write codes to an address, whole or not at all.

    Args:
        codes: what ``open_codes`` gives: a ``BinaryIndex``, ``Shards`` or a stream.
        address: as in ``open_codes``; not of a run, and not ``.npy``, which has no ids.
        kind: for places that hold several kinds of index, such as "hnsw" in ``.faiss``; None: the exact one, or none.
        pad: let FAISS have codes whose length is no multiple of 8, with their padding bits, which are 0.
        overwrite: replace what is there.
        progress: True for a bar on a terminal, or a callback (done, total).
    Raises:
        FileExistsError: something is there, without ``overwrite``.
        RuntimeError: the package the place needs is not installed.
        ValueError: an address of no known form, or a place that cannot hold these codes or this kind.
    """
    op = "write_codes"
    where = os.fspath(address)
    place = place_of(where, op)
    if place.write is None:
        raise ValueError(f"{op}: {place.name} has no ids and is read only: {where}")
    if kind is not None and kind not in place.kinds:
        raise ValueError(f"{op}: kind of {place.name} must be {' or '.join(place.kinds) or 'left out'}, got {kind!r}")
    if pad and place.name != "FAISS":
        raise ValueError(f"{op}: pad is for FAISS alone, {place.name} holds codes of any length")
    if place.name == "FAISS" and codes.bits % 8 and not pad:
        raise ValueError(f"{op}: FAISS holds codes of whole bytes only, got {codes.bits} bits; pad fills them up")
    if not overwrite and place.exists(where):
        raise FileExistsError(f"{op}: {where} exists already; overwrite replaces it")
    place.write(_places.padded(codes) if pad else codes, where, kind, overwrite, progress)


def describe(address: Address, *, bits: int | None = None, side: str = "image") -> dict[str, Any]:
    """What is at an address: place, bits, codes, first_id, last_id, bytes (of files) and shards (of a folder).

    Args, Raises: as ``open_codes``.
    """
    codes = open_codes(address, bits=bits, side=side)
    where = _places.run_index(address, side)
    low = high = None
    for ids, _ in codes.batches():
        if len(ids):
            low = int(ids.min()) if low is None else min(low, int(ids.min()))
            high = int(ids.max()) if high is None else max(high, int(ids.max()))
    info: dict[str, Any] = {
        "path": shown(where),
        "place": place_of(where, "describe").name,
        "bits": codes.bits,
        "codes": len(codes),
    }
    info |= {"first_id": low, "last_id": high}
    if isinstance(codes, BinaryIndex | Shards):
        info["kind"] = type(codes).__name__
    if isinstance(codes, Shards):
        info["shards"] = len(codes.indexes)
    path = Path(where)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else []
    return info | ({"bytes": sum(file.stat().st_size for file in files)} if files else {})


def is_own(address: Address) -> bool:
    """Whether an address is of an index file, a folder of shards or a run of this library."""
    where = os.fspath(address)
    return not _places.scheme(where) and place_of(_places.run_index(where, "image"), "is_own").own


def place_of(where: str, op: str) -> Place:
    """The kind of place an address names; ValueError when it is none."""
    for place in PLACES:
        if place.matches(where):
            return place
    forms = ", ".join(place.form for place in PLACES)
    raise ValueError(f"{op}: address must be one of {forms}, got {shown(where)!r}")
