"""Columns of Arrow as arrays of NumPy: ids and packed codes, in whatever type others keep them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_KINDS = "fixed_size_binary, binary, list<uint8> or fixed_size_list<uint8>"


def ids_of(column: Any, name: str, op: str) -> NDArray[Any]:
    """Integers [n] of an array of Arrow, a view where Arrow has them so.

    Raises:
        ValueError: no integers, or a null among them.
    """
    import pyarrow as pa

    if not pa.types.is_integer(column.type):
        raise ValueError(f"{op}: column {name!r} must hold integers, got {column.type}")
    _refuse_nulls(column, name, op)
    return column.to_numpy(zero_copy_only=False)


def width_of(kind: Any, name: str, op: str) -> int | None:
    """Bytes a code in a column of this type; None where only its rows tell. ValueError: another type."""
    import pyarrow as pa

    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if pa.types.is_fixed_size_binary(kind):
        return kind.byte_width
    if pa.types.is_fixed_size_list(kind) and pa.types.is_uint8(kind.value_type):
        return kind.list_size
    if _is_binary(kind) or (is_list and pa.types.is_uint8(kind.value_type)):
        return None
    raise ValueError(f"{op}: column {name!r} must be {_KINDS}, got {kind}")


def codes_of(column: Any, name: str, op: str, width: int | None = None) -> NDArray[np.uint8]:
    """uint8 [n, width] of an array of Arrow; a view of its memory.

    Args:
        width: bytes a code; None: those of the first row (1 where there is none).
    Raises:
        ValueError: another type, a null, or a row of another width.
    """
    import pyarrow as pa

    fixed = width_of(column.type, name, op)
    _refuse_nulls(column, name, op)
    count, start = len(column), column.offset
    if fixed is not None:
        if width not in (None, fixed):
            raise ValueError(f"{op}: column {name!r} must have {width} bytes a row, got {fixed}")
        if pa.types.is_fixed_size_binary(column.type):
            return _bytes(column.buffers()[1], start * fixed, count, fixed)
        return _values(column.flatten(), name, op).reshape(count, fixed)
    if not _has_offsets(column.type):  # views: their bytes may lie anywhere
        column, start = column.cast(pa.large_binary()), 0
    large = pa.types.is_large_binary(column.type) or pa.types.is_large_list(column.type)
    if count == 0:
        return np.empty((0, width or 1), np.uint8)
    offsets = np.frombuffer(column.buffers()[1], np.int64 if large else np.int32)[column.offset :][: count + 1]
    width = int(offsets[1] - offsets[0]) if width is None else width
    other = np.flatnonzero(np.diff(offsets) != width)
    if len(other):
        got = int(offsets[other[0] + 1] - offsets[other[0]])
        raise ValueError(f"{op}: column {name!r} must have {width} bytes a row, got {got} in row {other[0]}")
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return _bytes(column.buffers()[2], int(offsets[0]), count, width)
    return _values(column.flatten(), name, op).reshape(count, width)


def _is_binary(kind: Any) -> bool:
    import pyarrow as pa

    view = getattr(pa.types, "is_binary_view", None)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or (view is not None and view(kind))


def _has_offsets(kind: Any) -> bool:
    view = getattr(__import__("pyarrow").types, "is_binary_view", None)
    return view is None or not view(kind)


def _bytes(buffer: Any, start: int, count: int, width: int) -> NDArray[np.uint8]:
    if buffer is None or count * width == 0:
        return np.empty((count, width), np.uint8)
    return np.frombuffer(buffer, np.uint8, count * width, start).reshape(count, width)


def _values(values: Any, name: str, op: str) -> NDArray[np.uint8]:
    _refuse_nulls(values, name, op)
    return values.to_numpy(zero_copy_only=False)


def _refuse_nulls(column: Any, name: str, op: str) -> None:
    if column.null_count:
        raise ValueError(f"{op}: column {name!r} has {column.null_count} nulls; every row needs a value")
