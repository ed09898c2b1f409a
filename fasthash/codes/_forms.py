"""Sign rule, bit order and padding of binary codes are decided here and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash._native import like, to_numpy

MAX_BITS = 4096


def packed_width(bits: int) -> int:
    """Bytes of one packed code of this length."""
    return (check_bits(bits) + 7) // 8


def check_bits(bits: int, op: str = "codes") -> int:
    """bits itself when it is a whole number from 1 to 4096; ValueError otherwise."""
    if isinstance(bits, bool) or not isinstance(bits, (int, np.integer)) or not 1 <= bits <= MAX_BITS:
        raise ValueError(f"{op}: bits must be a whole number from 1 to {MAX_BITS}, got {bits!r}")
    return int(bits)


def binarize(h: Any) -> Any:
    """Signs of relaxed codes.

    Args:
        h: float [n, bits]; NaN is refused.
    Returns:
        int8 [n, bits] of -1 and +1; +1 where h >= 0.
    Raises:
        ValueError: not two-dimensional, not real numbers, or NaN among them.
    """
    return like(np.where(_relaxed(h, "binarize") >= 0, 1, -1).astype(np.int8), h)


def pack(h: Any) -> Any:
    """Pack codes eight bits to the byte.

    Args:
        h: [n, bits] floats (their sign counts, 0 is bit 1), booleans, or integers that are all -1/+1.
    Returns:
        uint8 [n, ceil(bits / 8)].
    Raises:
        ValueError: wrong shape or dtype, NaN, or integers other than -1 and +1 (0/1 integers are ambiguous: pass bool).
    """
    values = _relaxed(h, "pack", allow_bool=True)
    return like(np.packbits(values if values.dtype == np.bool_ else values >= 0, axis=1), h)


def unpack(packed: Any, bits: int) -> Any:
    """The -1/+1 codes of packed rows.

    Args:
        packed: uint8 [n, ceil(bits / 8)] with zero padding bits.
        bits: code length, 1 to 4096.
    Returns:
        int8 [n, bits].
    Raises:
        ValueError: wrong shape or dtype, or a non-zero padding bit.
    """
    rows = check_packed(packed, bits, "unpack", "packed")
    return like((np.unpackbits(rows, axis=1, count=bits).astype(np.int8) * 2 - 1), packed)


def check_packed(packed: Any, bits: int, op: str, name: str) -> NDArray[np.uint8]:
    """packed as a NumPy array, after checking dtype, shape and padding; ValueError names op and argument."""
    rows = to_numpy(packed, op, name)
    width = (check_bits(bits, op) + 7) // 8
    if rows.dtype != np.uint8:
        raise ValueError(f"{op}: {name} must be packed uint8, got {rows.dtype} (pack them with fasthash.codes.pack)")
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ValueError(f"{op}: {name} must be [n, {width}] for {bits} bits, got shape {rows.shape}")
    if bits % 8:
        low = (1 << (8 - bits % 8)) - 1
        for start in range(0, len(rows), 1 << 20):  # bounded memory on a mapped database
            bad = np.flatnonzero(rows[start : start + (1 << 20), -1] & low)
            if len(bad):
                raise ValueError(f"{op}: {name} row {start + bad[0]} has a non-zero padding bit after bit {bits}")
    return rows


def _relaxed(h: Any, op: str, *, allow_bool: bool = False) -> NDArray[Any]:
    values = to_numpy(h, op, "h")
    if values.ndim != 2:
        raise ValueError(f"{op}: h must be [n, bits], got shape {values.shape}")
    check_bits(values.shape[1], op)
    if allow_bool and values.dtype == np.bool_:
        return values
    if np.issubdtype(values.dtype, np.floating):
        if np.isnan(values).any():
            raise ValueError(f"{op}: h has NaN in row {int(np.flatnonzero(np.isnan(values).any(axis=1))[0])}")
        return values
    if np.issubdtype(values.dtype, np.signedinteger):
        if not (np.abs(values) == 1).all():
            raise ValueError(f"{op}: integer h must hold -1 and +1 only (pass bool for 0/1), got other values")
        return values
    kinds = "float, bool or -1/+1 integers" if allow_bool else "float or -1/+1 integers"
    raise ValueError(f"{op}: h must be {kinds}, got {values.dtype}")
