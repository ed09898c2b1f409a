"""Rows in the binary form of PostgreSQL's COPY, made and read by NumPy.

A stream is a header, rows, and -1 as int16. A row is the number of its fields (int16), and of each field its bytes
(int32) and its value; all big-endian. A ``bit(n)`` is sent as n (int32) and ceil(n / 8) bytes, the first bit the most
significant one, unused bits of the last byte 0: that is ``fasthash.codes``' own order and padding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from fasthash.codes import packed_width
from fasthash.interop._codes import Rows

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # signature, flags, length of what follows in the header
TRAILER = b"\xff\xff"
_MOST = 1 << 22  # bytes sent or taken apart at once


def rows_at_once(bits: int) -> int:
    """Rows that are made or read together."""
    return max(1, _MOST // _row(bits).itemsize)


def sent(ids: NDArray[np.int64], codes: NDArray[np.uint8], bits: int) -> bytes:
    """The rows of ids [m] and packed codes [m, ceil(bits / 8)]."""
    rows = np.empty(len(ids), _row(bits))
    for name, value in _constants(bits).items():
        rows[name] = value
    rows["id"], rows["code"] = ids, codes
    return rows.tobytes()


def received(blocks: Iterable[bytes | memoryview], bits: int, size: int, op: str) -> Iterator[Rows]:
    """Ids and codes of a stream that comes in blocks of any length, ``size`` rows at a time.

    Raises:
        RuntimeError: the stream ends too early, or holds something else.
    """
    kind, head = _row(bits), len(HEADER)
    held, length = list[bytes | memoryview](), 0
    for block in blocks:
        held.append(block)
        length += len(block)
        if length >= head + size * kind.itemsize:
            joined = b"".join(held)
            stop = head + (length - head) // kind.itemsize * kind.itemsize
            yield from _parts(joined[head:stop], bits, size, op)
            held, length, head = [joined[stop:]], length - stop, 0
    joined = b"".join(held)
    if joined[-2:] != TRAILER or (length - head - 2) % kind.itemsize:
        raise RuntimeError(f"{op}: the rows that PostgreSQL sent end too early or are no codes of {bits} bits")
    yield from _parts(joined[head:-2], bits, size, op)


def _parts(raw: bytes, bits: int, size: int, op: str) -> Iterator[Rows]:
    rows = np.frombuffer(raw, _row(bits))
    if any((rows[name] != value).any() for name, value in _constants(bits).items()):
        raise RuntimeError(f"{op}: PostgreSQL sent rows that are no codes of {bits} bits")
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        yield part["id"].astype(np.int64), np.ascontiguousarray(part["code"])


def _row(bits: int) -> np.dtype[np.void]:
    fields = [("fields", ">i2"), ("id_bytes", ">i4"), ("id", ">i8"), ("code_bytes", ">i4"), ("bits", ">i4")]
    return np.dtype([*fields, ("code", "u1", (packed_width(bits),))])


def _constants(bits: int) -> dict[str, int]:
    return {"fields": 2, "id_bytes": 8, "code_bytes": 4 + packed_width(bits), "bits": bits}
