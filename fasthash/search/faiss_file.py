"""Files of FAISS's exact binary indexes, read and written by NumPy alone.

All numbers are little-endian and nothing is aligned. An index begins with the header

    fourcc, d int32 (bits), code_size int32 (d / 8), ntotal int64, is_trained uint8 (1), metric_type int32 (1)

- ``IBxF`` IndexBinaryFlat: then the size in bytes (uint64) and the codes, uint8 [ntotal, code_size].
- ``IBMp`` IndexBinaryIDMap, ``IBM2`` IndexBinaryIDMap2: then the index within, here always an ``IBxF``, with a header
  of its own, then the number of ids (uint64) and the ids, int64 [ntotal].

FAISS knows no bit order: it compares whole bytes, and so the distances are the same for either. What this library
writes has the order of ``fasthash.codes`` (most significant bit first), and what it reads is taken to have it.
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fasthash._files import replace_file
from fasthash.codes import MAX_BITS
from fasthash.search.snapshot import ascending, first_repeated
from fasthash.search.storage import Stored, chunks, read_tensor

_HEADER = struct.Struct("<4siiqBi")
_SIZE = struct.Struct("<Q")
_METRIC = 1  # METRIC_L2: what every binary index says, though it means the Hamming distance
_FLAT, _ID_MAPS = "IBxF", ("IBMp", "IBM2")
_KINDS = {
    "IBxF": "IndexBinaryFlat", "IBMp": "IndexBinaryIDMap", "IBM2": "IndexBinaryIDMap2", "IBwF": "IndexBinaryIVF",
    "IBHf": "IndexBinaryHNSW", "IBHh": "IndexBinaryHash", "IBHm": "IndexBinaryMultiHash",
    "IBFf": "IndexBinaryFromFloat",
}  # fmt: skip


class _Header(NamedTuple):
    kind: str
    bits: int
    ntotal: int


def is_faiss(head: bytes) -> bool:
    """Whether a file that begins like this may be one of FAISS, whichever kind of index it holds."""
    return re.match(rb"I[BHxw][A-Za-z0-9]{2}", head) is not None


def write(
    path: str | os.PathLike[str],
    bits: int,
    codes: NDArray[np.uint8],
    ids: NDArray[np.int64] | None,
    reverse: bool,
) -> None:
    """Write an IndexBinaryFlat; with ids one inside an IndexBinaryIDMap, or with ``reverse`` an IndexBinaryIDMap2.

    Raises:
        ValueError: bits is no multiple of 8.
        OSError: as from the file system; an older file at ``path`` is then untouched and nothing else is left behind.
    """
    if bits % 8:
        raise ValueError(f"write_faiss: FAISS holds codes of whole bytes only, got codes of {bits} bits")

    def header(kind: str) -> bytes:
        return _HEADER.pack(kind.encode(), bits, bits // 8, len(codes), 1, _METRIC)

    def stream(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            if ids is not None:
                file.write(header(_ID_MAPS[reverse]))
            file.write(header(_FLAT) + _SIZE.pack(codes.nbytes))
            for chunk in chunks([codes]):
                file.write(chunk)
            if ids is not None:
                file.write(_SIZE.pack(len(ids)))
                for chunk in chunks([ids.astype("<i8", copy=False)]):
                    file.write(chunk)

    replace_file(path, stream)


def read(path: str | os.PathLike[str], *, mmap: bool, op: str) -> Stored:
    """The codes and ids of a flat index or of an id map over one; ``op`` names the caller in errors.

    Args:
        mmap: map the codes read-only instead of reading them; the ids, which FAISS leaves unaligned, are always read.
    Raises:
        FileNotFoundError: no such file.
        ValueError: anything else than a sound file of these kinds, an id that is negative or there twice, or, with
            mmap, ids that do not ascend.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{op}: no index file at {path}")
    with open(path, "rb") as file:
        outer = inner = _read_header(path, file, op)
        if outer.kind in _ID_MAPS:
            inner = _read_header(path, file, op, f" inside an {_KINDS[outer.kind]}")
        if inner.kind != _FLAT or inner[1:] != outer[1:]:
            raise ValueError(f"{op}: {path} is damaged: its id map is over {_described(inner)}")
        codes_at, ids_at = _check_size(path, file, inner, outer.kind in _ID_MAPS, op)
        shape = (inner.ntotal, inner.bits // 8)
        codes = read_tensor(path, file, "|u1", shape, codes_at, mmap, op)
        if outer.kind == _FLAT:
            return Stored(inner.bits, codes, None)
        ids = read_tensor(path, file, "<i8", (inner.ntotal,), ids_at, False, op)
    return Stored(inner.bits, *_in_order(path, codes, ids, mmap, op))


def _read_header(path: Path, file: BinaryIO, op: str, where: str = "") -> _Header:
    raw = file.read(_HEADER.size)
    if not is_faiss(raw):
        raise ValueError(f"{op}: {path} holds no FAISS index{where}")
    name = raw[:4].decode()
    if name not in (_FLAT, *_ID_MAPS) or (where and name != _FLAT):
        kind = f"FAISS {_KINDS.get(name, 'index')} ({name!r}){where}"
        raise ValueError(f"{op}: {path} holds a {kind}, expected an IndexBinaryFlat or an id map over one")
    if len(raw) < _HEADER.size:
        raise ValueError(f"{op}: {path} is truncated: it ends within a header")
    _, bits, width, count, trained, metric = _HEADER.unpack(raw)
    if bits > MAX_BITS:
        raise ValueError(f"{op}: {path} has codes of {bits} bits, at most {MAX_BITS} can be searched")
    if bits < 8 or bits % 8 or width != bits // 8 or count < 0 or trained != 1 or metric != _METRIC:
        got = f"d {bits}, code_size {width}, ntotal {count}, is_trained {trained}, metric_type {metric}"
        raise ValueError(f"{op}: {path} has a damaged header: {got}")
    return _Header(name, bits, count)


def _described(header: _Header) -> str:
    return f"{header.ntotal} codes of {header.bits} bits"


def _check_size(path: Path, file: BinaryIO, flat: _Header, mapped: bool, op: str) -> tuple[int, int]:
    """Where the codes and the ids begin, after comparing the sizes in the file with what the header says."""
    total, codes_at = os.fstat(file.fileno()).st_size, file.tell() + _SIZE.size
    size = flat.ntotal * (flat.bits // 8)
    ids_at = codes_at + size + _SIZE.size
    end = ids_at + 8 * flat.ntotal if mapped else codes_at + size
    if total != end:
        what = "truncated" if total < end else "damaged"
        raise ValueError(f"{op}: {path} is {what}: {_described(flat)} want {end} bytes, the file has {total}")
    places = [(codes_at, size, "bytes of codes")] + ([(ids_at, flat.ntotal, "ids")] if mapped else [])
    for at, wanted, what in places:
        file.seek(at - _SIZE.size)
        got = int.from_bytes(file.read(_SIZE.size), "little")
        if got != wanted:
            raise ValueError(f"{op}: {path} is damaged: it says {got} {what}, expected {wanted}")
    return codes_at, ids_at


def _in_order(
    path: Path, codes: NDArray[np.uint8], ids: NDArray[np.int64], mmap: bool, op: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
    """Rows by ascending id, as an index keeps them; FAISS takes any ids in any order."""
    ids = ids.astype(np.int64, copy=False)
    if len(ids) and ids.min() < 0:
        raise ValueError(f"{op}: {path} has the id {ids.min()}; ids must not be negative")
    if not ascending(ids):
        order = np.argsort(ids, kind="stable")
        ids = ids[order]
        if (twice := first_repeated(ids)) is not None:
            raise ValueError(f"{op}: {path} has the id {twice} twice; every code needs an id of its own")
        if mmap:
            raise ValueError(
                f"{op}: {path} has ids that do not ascend, so that its codes cannot be searched where they lie; "
                "read it with mmap=False"
            )
        codes = codes[order]
    rows = len(ids) == 0 or ids[-1] == len(ids) - 1  # ascending from 0 on without gaps
    return codes, None if rows else ids
