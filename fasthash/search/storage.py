"""Index files: safetensors, written and read by NumPy alone.

Layout: 8 bytes little-endian header length, a JSON header padded with blanks so that the data begins at a multiple of
64 bytes, then the tensors without gaps: ``ids`` (I64 [n], left out while row i has id i) and ``codes`` (U8 [n, width]).
``__metadata__`` holds format, version, bits, bit_order, zero_rule, count and the checksum (CRC-32) of the data.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fasthash.codes import MAX_BITS, check_packed, packed_width

FORMAT = "fasthash.BinaryIndex"
VERSION = 1
_RULES = {"bit_order": "most significant first", "zero_rule": "h >= 0 is bit 1"}
_ALIGN = 64
_CHUNK = 1 << 24  # bytes read or written at once
_MAX_HEADER = 1 << 20


class Stored(NamedTuple):
    """What a file holds."""

    bits: int
    codes: NDArray[np.uint8]  # [n, ceil(bits / 8)]
    ids: NDArray[np.int64] | None  # [n] ascending; None: row i has id i


def write(path: str | os.PathLike[str], bits: int, codes: NDArray[np.uint8], ids: NDArray[np.int64] | None) -> None:
    """Write an index file, whole or not at all.

    Raises:
        OSError: as from the file system; an older file at ``path`` is then untouched and nothing else is left behind.
    """
    from fasthash._files import replace_file  # late: it loads tempfile, which searching does not need

    tensors: dict[str, NDArray[Any]] = {} if ids is None else {"ids": ids.astype("<i8", copy=False)}
    tensors["codes"] = codes
    views = [np.ascontiguousarray(x).data.cast("B") for x in tensors.values() if x.size]
    checksum = 0
    for view in views:
        for start in range(0, len(view), _CHUNK):
            checksum = zlib.crc32(view[start : start + _CHUNK], checksum)
    header = _header(bits, tensors, checksum)

    def stream(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            file.write(header)
            for view in views:
                for start in range(0, len(view), _CHUNK):
                    file.write(view[start : start + _CHUNK])

    replace_file(path, stream)


def _header(bits: int, tensors: dict[str, NDArray[Any]], checksum: int) -> bytes:
    count = len(tensors["codes"])
    metadata = {"format": FORMAT, "version": str(VERSION), "bits": str(bits), **_RULES, "count": str(count)}
    entries: dict[str, Any] = {"__metadata__": {**metadata, "checksum": f"crc32:{checksum:08x}"}}
    offset = 0
    for name, tensor in tensors.items():
        dtype = "I64" if name == "ids" else "U8"
        entries[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [offset, offset + tensor.nbytes]}
        offset += tensor.nbytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGN)
    return len(text).to_bytes(8, "little") + text


def read(path: str | os.PathLike[str], *, mmap: bool, verify: bool) -> Stored:
    """What ``write`` wrote.

    Args:
        mmap: map the tensors read-only instead of reading them.
        verify: check the checksum, the padding bits and the order of the ids: reads everything once.
    Raises:
        FileNotFoundError: no such file.
        ValueError: anything else than a sound index file; one line says what is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"load: no index file at {path}")
    entries, begin, size = _read_header(path)
    bits, count, checksum = _read_metadata(path, entries)
    places = _check_tensors(path, entries, bits, count, size)
    arrays: dict[str, NDArray[Any]] = {}
    for name, (dtype, shape, offset) in places.items():
        if count == 0:
            arrays[name] = np.empty(shape, dtype)
        elif mmap:
            arrays[name] = np.memmap(path, dtype, "r", begin + offset, shape)
        else:
            arrays[name] = np.fromfile(path, dtype, int(np.prod(shape)), offset=begin + offset).reshape(shape)
    stored = Stored(bits, arrays["codes"], arrays.get("ids"))
    if verify:
        _verify(path, stored, begin, checksum)
    return stored


def _read_header(path: Path) -> tuple[dict[str, Any], int, int]:
    """The JSON header, where the data begins, and how many bytes of it there are."""
    total = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if total < 8 or not 2 <= length <= _MAX_HEADER:
            raise ValueError(f"load: {path} is not an index file")
        if 8 + length > total:
            raise ValueError(f"load: {path} is truncated: its header wants {8 + length} bytes, the file has {total}")
        text = file.read(length)
    try:
        entries = json.loads(text)
    except ValueError:  # also what is no UTF-8
        raise ValueError(f"load: {path} is not an index file") from None
    if not isinstance(entries, dict):
        raise ValueError(f"load: {path} is not an index file")
    return entries, 8 + length, total - 8 - length


def _read_metadata(path: Path, entries: dict[str, Any]) -> tuple[int, int, int]:
    """bits, count and checksum."""
    metadata = entries.get("__metadata__")
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ValueError(f"load: {path} is a safetensors file, but not one of a fasthash index")
    try:
        version, bits, count = (int(metadata[name]) for name in ("version", "bits", "count"))
        kind, _, digits = metadata["checksum"].partition(":")
        checksum = int(digits, 16)
    except (KeyError, ValueError, AttributeError, TypeError):
        raise ValueError(f"load: {path} has damaged metadata") from None
    if version > VERSION:
        raise ValueError(f"load: {path} is of version {version}, this fasthash reads up to {VERSION}; update fasthash")
    if version < 1 or not 1 <= bits <= MAX_BITS or count < 0 or kind != "crc32":
        raise ValueError(f"load: {path} has damaged metadata")
    for name, rule in _RULES.items():
        if metadata.get(name) != rule:
            raise ValueError(f"load: {path} has {name} {metadata.get(name)!r}, expected {rule!r}")
    return bits, count, checksum


def _check_tensors(
    path: Path, entries: dict[str, Any], bits: int, count: int, size: int
) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """dtype, shape and offset of each tensor, after comparing the header with what must stand there."""
    expected: dict[str, tuple[str, str, tuple[int, ...], int]] = {}
    offset = 0
    if "ids" in entries:
        expected["ids"] = ("I64", "<i8", (count,), offset)
        offset += 8 * count
    expected["codes"] = ("U8", "|u1", (count, packed_width(bits)), offset)
    end = offset + count * packed_width(bits)
    if set(entries) - {"__metadata__"} != set(expected):
        names = sorted(set(entries) - {"__metadata__"})
        raise ValueError(f"load: {path} must hold codes and, if need be, ids, got {', '.join(names) or 'nothing'}")
    ends = {"ids": 8 * count, "codes": end}
    for name, (kind, _, shape, start) in expected.items():
        wanted = {"dtype": kind, "shape": list(shape), "data_offsets": [start, ends[name]]}
        if entries[name] != wanted:
            raise ValueError(f"load: {path} is damaged: {name} should be {wanted} for {count} codes of {bits} bits")
    if size != end:
        what = "truncated" if size < end else "damaged"
        raise ValueError(f"load: {path} is {what}: its tensors want {end} bytes, the file has {size}")
    return {name: (dtype, shape, start) for name, (_, dtype, shape, start) in expected.items()}


def _verify(path: Path, stored: Stored, begin: int, checksum: int) -> None:
    found = 0
    with open(path, "rb") as file:
        file.seek(begin)
        while chunk := file.read(_CHUNK):
            found = zlib.crc32(chunk, found)
    if found != checksum:
        raise ValueError(
            f"load: {path} is damaged: its checksum is crc32:{found:08x}, it should be crc32:{checksum:08x}"
        )
    check_packed(stored.codes, stored.bits, "load", "codes")
    ids = stored.ids
    if ids is not None and len(ids) and not (ids[0] >= 0 and bool((ids[1:] > ids[:-1]).all())):
        raise ValueError(f"load: {path} is damaged: its ids do not ascend from 0 on")
