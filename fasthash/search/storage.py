"""Index files: safetensors, written and read by NumPy alone.

Layout: 8 bytes little-endian header length, a JSON header padded with blanks so that the data begins at a multiple of
64 bytes, then the tensors without gaps: ``ids`` (I64 [n], left out while row i has id i) and ``codes`` (U8 [n, width]).
``__metadata__`` holds format, version, bits, bit_order, zero_rule, count and the checksum (CRC-32) of the data.
"""

from __future__ import annotations

import json
import math
import os
import re
import reprlib
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fasthash._files import replace_file
from fasthash.codes import MAX_BITS, check_packed, packed_width

FORMAT = "fasthash.BinaryIndex"
VERSION = 1
_RULES = {"bit_order": "most significant first", "zero_rule": "h >= 0 is bit 1"}
_ALIGN = 64
_CHUNK = 1 << 24  # bytes written or looked at at once
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
    tensors: dict[str, NDArray[Any]] = {} if ids is None else {"ids": ids.astype("<i8", copy=False)}
    tensors["codes"] = codes
    header = _header(bits, tensors, _checksum(tensors.values()))

    def stream(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            file.write(header)
            for chunk in _chunks(tensors.values()):
                file.write(chunk)

    replace_file(path, stream)


def _chunks(tensors: Iterable[NDArray[Any]]) -> Iterator[memoryview]:
    """The bytes of the tensors, one after the other."""
    for tensor in tensors:
        if tensor.size:
            view = np.ascontiguousarray(tensor).data.cast("B")
            yield from (view[start : start + _CHUNK] for start in range(0, len(view), _CHUNK))


def _checksum(tensors: Iterable[NDArray[Any]]) -> int:
    value = 0
    for chunk in _chunks(tensors):
        value = zlib.crc32(chunk, value)
    return value


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
    """What ``write`` wrote. The file is opened once: a save in the meantime puts another one in its place.

    Args:
        mmap: map the tensors read-only instead of reading them.
        verify: check the checksum and the padding bits: reads everything once. The ids are always checked.
    Raises:
        FileNotFoundError: no such file.
        ValueError: anything else than a sound index file; one line says what is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"load: no index file at {path}")
    with open(path, "rb") as file:
        entries, begin, size = _read_header(path, file)
        bits, count, checksum = _read_metadata(path, entries, size)
        places = _check_tensors(path, entries, bits, count, size)
        arrays = {
            name: _read_tensor(path, file, dtype, shape, begin + offset, mmap)
            for name, (dtype, shape, offset) in places.items()
        }
    if "ids" in arrays:
        _check_ids(path, arrays["ids"])
    if verify:
        found = _checksum(arrays.values())
        if found != checksum:
            sums = f"its checksum is crc32:{found:08x}, it should be crc32:{checksum:08x}"
            raise ValueError(f"load: {path} is damaged: {sums}")
        check_packed(arrays["codes"], bits, "load", f"{path}: codes")
    return Stored(bits, arrays["codes"], arrays.get("ids"))


def _read_tensor(
    path: Path, file: BinaryIO, dtype: str, shape: tuple[int, ...], offset: int, mmap: bool
) -> NDArray[Any]:
    if shape[0] == 0:
        return np.empty(shape, dtype)
    if mmap:
        try:
            return np.memmap(file, dtype, "r", offset, shape)
        except (OSError, ValueError) as error:  # no address space; or cut short since its size was looked at
            raise type(error)(f"load: {path} cannot be mapped: {error}") from None
    count = math.prod(shape)
    file.seek(offset)
    values = np.fromfile(file, dtype, count)
    if len(values) != count:
        raise ValueError(f"load: {path} is truncated: {len(values)} of {count} values were left when it was read")
    return values.reshape(shape)


def _check_ids(path: Path, ids: NDArray[np.int64]) -> None:
    """The ids reach the user as they are and are searched by halving: they must ascend from 0 on."""
    step = _CHUNK // ids.itemsize
    after = ids[1:]
    sound = all(
        bool((after[start : start + step] > ids[:-1][start : start + step]).all()) for start in range(0, len(ids), step)
    )
    if len(ids) and (ids[0] < 0 or not sound):
        raise ValueError(f"load: {path} is damaged: its ids do not ascend from 0 on")


def _read_header(path: Path, file: BinaryIO) -> tuple[dict[str, Any], int, int]:
    """The JSON header, where the data begins, and how many bytes of it there are."""
    total = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if total < 8 or not 2 <= length <= _MAX_HEADER:
        raise ValueError(f"load: {path} is not an index file")
    if 8 + length > total:
        raise ValueError(f"load: {path} is truncated: its header wants {8 + length} bytes, the file has {total}")
    try:
        entries = json.loads(file.read(length))
    except (ValueError, RecursionError):  # also what is no UTF-8, and brackets without end
        raise ValueError(f"load: {path} is not an index file") from None
    if not isinstance(entries, dict):
        raise ValueError(f"load: {path} is not an index file")
    return entries, 8 + length, total - 8 - length


def _read_metadata(path: Path, entries: dict[str, Any], size: int) -> tuple[int, int, int]:
    """bits, count and checksum."""
    metadata = entries.get("__metadata__")
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ValueError(f"load: {path} is a safetensors file, but not one of a fasthash index")
    version, bits, count = (_number(metadata.get(name)) for name in ("version", "bits", "count"))
    if version > VERSION:
        raise ValueError(f"load: {path} is of version {version}, this fasthash reads up to {VERSION}; update fasthash")
    checksum = metadata.get("checksum")
    sound = isinstance(checksum, str) and re.fullmatch("crc32:[0-9a-f]{8}", checksum)
    if version < 1 or not 1 <= bits <= MAX_BITS or count < 0 or not sound:
        raise ValueError(f"load: {path} has damaged metadata")
    for name, rule in _RULES.items():
        if metadata.get(name) != rule:
            got = reprlib.repr(metadata.get(name))
            raise ValueError(f"load: {path} has {name} {got}, expected {rule!r}")
    if count * packed_width(bits) > size:
        raise ValueError(f"load: {path} is truncated: it has {size} bytes for {count} codes of {bits} bits")
    return bits, count, int(str(checksum)[6:], 16)


def _number(value: Any) -> int:
    """The number that plain digits spell, of a size that prints; -1 for anything else."""
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,19}", value) else -1


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
        names = reprlib.repr(sorted(set(entries) - {"__metadata__"}))
        raise ValueError(f"load: {path} must hold codes and, if need be, ids, got {names}")
    ends = {"ids": 8 * count, "codes": end}
    for name, (kind, _, shape, start) in expected.items():
        wanted = {"dtype": kind, "shape": list(shape), "data_offsets": [start, ends[name]]}
        got = entries[name]
        # Python takes 1.0 and true for 1; a wanted entry holds whole numbers.
        if got != wanted or any(type(x) is not int for x in (*got["shape"], *got["data_offsets"])):
            raise ValueError(f"load: {path} is damaged: {name} should be {wanted} for {count} codes of {bits} bits")
    if size != end:
        what = "truncated" if size < end else "damaged"
        raise ValueError(f"load: {path} is {what}: its tensors want {end} bytes, the file has {size}")
    return {name: (dtype, shape, start) for name, (_, dtype, shape, start) in expected.items()}
