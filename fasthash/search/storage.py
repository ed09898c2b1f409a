"""Index files: safetensors, written and read by NumPy alone.

Layout: 8 bytes little-endian header length, a JSON header padded with blanks so that the data begins at a multiple of
64 bytes, then the tensors without gaps: ``ids`` (I64 [n], left out while row i has id i) and ``codes`` (U8 [n, width]).
In version 2, which is written only then, ``ids`` are also left out where row i has id ``first_id`` + i.
``__metadata__`` holds format, version, bits, bit_order, zero_rule, count and the checksum (CRC-32) of the data.
A format of another kind of index has tensors of its own between ``ids`` and ``codes``, and metadata of its own.
"""

from __future__ import annotations

import json
import math
import os
import re
import reprlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fasthash._files import replace_file
from fasthash.codes import MAX_BITS, check_packed, packed_width
from fasthash.search.snapshot import MAX_ID, ascending

FORMAT = "fasthash.BinaryIndex"
VERSION = 2
_RULES = {"bit_order": "most significant first", "zero_rule": "h >= 0 is bit 1"}
_ALIGN = 64
_CHUNK = 1 << 24  # bytes written or looked at at once
_MAX_HEADER = 1 << 20


class Stored(NamedTuple):
    """What a file holds."""

    bits: int
    codes: NDArray[np.uint8]  # [n, ceil(bits / 8)]
    ids: NDArray[np.int64] | None  # [n] ascending; None: row i has id first + i
    format: str = FORMAT
    metadata: Mapping[str, Any] = {}  # of the file, not yet looked at beyond what every format has
    more: Mapping[str, NDArray[Any]] = {}  # the format's own tensors
    first: int = 0


# What a format's own tensors must be, from its path, metadata, bits and count: name -> shape, dtype, in order.
# ValueError: the metadata do not say.
Describe = Callable[[Path, Mapping[str, Any], int, int], Mapping[str, tuple[tuple[int, ...], str]]]
_PLAIN: Mapping[str, Describe] = {FORMAT: lambda path, metadata, bits, count: {}}
_KINDS = {"<i8": "I64", "<u8": "U64", "<u4": "U32", "|u1": "U8"}


def write(
    path: str | os.PathLike[str],
    bits: int,
    codes: NDArray[np.uint8],
    ids: NDArray[np.int64] | None,
    format: str = FORMAT,
    metadata: Mapping[str, str] = {},
    more: Mapping[str, NDArray[Any]] = {},
    first: int = 0,
) -> None:
    """Write an index file, whole or not at all; ``format`` may have ``metadata`` and tensors (``more``) of its own.

    first: the id of row 0 where ``ids`` are None and row i has id first + i.

    Raises:
        OSError: as from the file system; an older file at ``path`` is then untouched and nothing else is left behind.
    """
    tensors: dict[str, NDArray[Any]] = {} if ids is None else {"ids": ids.astype("<i8", copy=False)}
    tensors |= {**more, "codes": codes}
    own = {"format": format, "version": "1", **metadata}
    if first:  # who reads version 1 alone must not take the ids to begin at 0
        own |= {"version": "2", "first_id": str(first)}
    header = _header(bits, tensors, own, _checksum(tensors.values()))

    def stream(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            file.write(header)
            for chunk in chunks(tensors.values()):
                file.write(chunk)

    replace_file(path, stream)


def chunks(tensors: Iterable[NDArray[Any]]) -> Iterator[memoryview]:
    """The bytes of the tensors, one after the other."""
    for tensor in tensors:
        if tensor.size:
            view = np.ascontiguousarray(tensor).data.cast("B")
            yield from (view[start : start + _CHUNK] for start in range(0, len(view), _CHUNK))


def _checksum(tensors: Iterable[NDArray[Any]]) -> int:
    value = 0
    for chunk in chunks(tensors):
        value = zlib.crc32(chunk, value)
    return value


def _header(bits: int, tensors: dict[str, NDArray[Any]], own: dict[str, str], checksum: int) -> bytes:
    count = len(tensors["codes"])
    metadata = {"bits": str(bits), **_RULES, "count": str(count), **own}
    entries: dict[str, Any] = {"__metadata__": {**metadata, "checksum": f"crc32:{checksum:08x}"}}
    offset = 0
    for name, tensor in tensors.items():
        dtype = _KINDS[tensor.dtype.str]
        entries[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [offset, offset + tensor.nbytes]}
        offset += tensor.nbytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGN)
    return len(text).to_bytes(8, "little") + text


def read(path: str | os.PathLike[str], *, mmap: bool, verify: bool, formats: Mapping[str, Describe] = _PLAIN) -> Stored:
    """What ``write`` wrote. The file is opened once: a save in the meantime puts another one in its place.

    Args:
        mmap: map the tensors read-only instead of reading them.
        verify: check the checksum and the padding bits: reads everything once. The ids are always checked.
        formats: those that are welcome.
    Raises:
        FileNotFoundError: no such file.
        ValueError: anything else than a sound index file; one line says what is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"load: no index file at {path}")
    with open(path, "rb") as file:
        entries, begin, size = _read_header(path, file)
        bits, count, checksum = _read_metadata(path, entries, size, formats)
        metadata = entries["__metadata__"]
        more = formats[metadata["format"]](path, metadata, bits, count)
        places = _check_tensors(path, entries, bits, count, size, more)
        arrays = {
            name: read_tensor(path, file, dtype, shape, begin + offset, mmap)
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
    own, first = {name: arrays[name] for name in more}, number(metadata.get("first_id", "0"))
    return Stored(bits, arrays["codes"], arrays.get("ids"), metadata["format"], metadata, own, first)


def read_tensor(
    path: Path, file: BinaryIO, dtype: str, shape: tuple[int, ...], offset: int, mmap: bool, op: str = "load"
) -> NDArray[Any]:
    """An array at a place in an open file, mapped read-only or read; ``op`` names the caller in errors.

    Raises:
        ValueError, OSError: it cannot be mapped, or the file has become too short for it.
    """
    if shape[0] == 0:
        return np.empty(shape, dtype)
    if mmap:
        try:
            return np.memmap(file, dtype, "r", offset, shape)
        except (OSError, ValueError) as error:  # no address space; or cut short since its size was looked at
            raise type(error)(f"{op}: {path} cannot be mapped: {error}") from None
    count = math.prod(shape)
    file.seek(offset)
    values = np.fromfile(file, dtype, count)
    if len(values) != count:
        raise ValueError(f"{op}: {path} is truncated: {len(values)} of {count} values were left when it was read")
    return values.reshape(shape)


def _check_ids(path: Path, ids: NDArray[np.int64]) -> None:
    """The ids reach the user as they are and are searched by halving: they must ascend from 0 on."""
    if len(ids) and (ids[0] < 0 or not ascending(ids, _CHUNK // ids.itemsize)):
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


def _read_metadata(
    path: Path, entries: dict[str, Any], size: int, formats: Mapping[str, Describe]
) -> tuple[int, int, int]:
    """bits, count and checksum."""
    metadata = entries.get("__metadata__")
    if not isinstance(metadata, dict) or metadata.get("format") not in list(formats):
        raise ValueError(f"load: {path} is a safetensors file, but not one of a fasthash index")
    version, bits, count = (number(metadata.get(name)) for name in ("version", "bits", "count"))
    if version > VERSION:
        raise ValueError(f"load: {path} is of version {version}, this fasthash reads up to {VERSION}; update fasthash")
    checksum = metadata.get("checksum")
    sound = isinstance(checksum, str) and re.fullmatch("crc32:[0-9a-f]{8}", checksum)
    first = number(metadata.get("first_id", "0"))
    counted = first == 0 or (version > 1 and "ids" not in entries and 0 <= first <= MAX_ID - count)
    if version < 1 or not 1 <= bits <= MAX_BITS or count < 0 or not sound or not counted:
        raise ValueError(f"load: {path} has damaged metadata")
    for name, rule in _RULES.items():
        if metadata.get(name) != rule:
            got = reprlib.repr(metadata.get(name))
            raise ValueError(f"load: {path} has {name} {got}, expected {rule!r}")
    if count * packed_width(bits) > size:
        raise ValueError(f"load: {path} is truncated: it has {size} bytes for {count} codes of {bits} bits")
    return bits, count, int(str(checksum)[6:], 16)


def number(value: Any) -> int:
    """The number that plain digits spell, of a size that prints; -1 for anything else."""
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,19}", value) else -1


def _check_tensors(
    path: Path,
    entries: dict[str, Any],
    bits: int,
    count: int,
    size: int,
    more: Mapping[str, tuple[tuple[int, ...], str]],
) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """dtype, shape and offset of each tensor, after comparing the header with what must stand there."""
    tensors: dict[str, tuple[tuple[int, ...], str]] = {"ids": ((count,), "<i8")} if "ids" in entries else {}
    tensors |= {**more, "codes": ((count, packed_width(bits)), "|u1")}
    if set(entries) - {"__metadata__"} != set(tensors):
        names = reprlib.repr(sorted(set(entries) - {"__metadata__"}))
        what = ", ".join(["codes", *more])
        raise ValueError(f"load: {path} must hold {what} and, if need be, ids, got {names}")
    places: dict[str, tuple[str, tuple[int, ...], int]] = {}
    end = 0
    for name, (shape, dtype) in tensors.items():
        places[name] = (dtype, shape, end)
        start, end = end, end + math.prod(shape) * np.dtype(dtype).itemsize
        wanted = {"dtype": _KINDS[dtype], "shape": list(shape), "data_offsets": [start, end]}
        got = entries[name]
        # Python takes 1.0 and true for 1; a wanted entry holds whole numbers.
        if got != wanted or any(type(x) is not int for x in (*got["shape"], *got["data_offsets"])):
            raise ValueError(f"load: {path} is damaged: {name} should be {wanted} for {count} codes of {bits} bits")
    if size != end:
        what = "truncated" if size < end else "damaged"
        raise ValueError(f"load: {path} is {what}: its tensors want {end} bytes, the file has {size}")
    return places
