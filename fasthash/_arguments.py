"""Checks of the arguments that every search takes, on any device. Needs NumPy alone."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash import _native
from fasthash.codes import MAX_BITS, check_bits

MAX_THREADS = 4096


def whole_number(value: Any, low: int, high: int, op: str, name: str) -> int:
    """value as an int from low to high; TypeError or ValueError names op and argument."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{op}: {name} must be a whole number, got {type(value).__name__}")
    if not low <= value <= high:
        bounds = f"from {low} to {high}" if high < sys.maxsize else f"of at least {low}"
        raise ValueError(f"{op}: {name} must be a whole number {bounds}, got {value}")
    return int(value)


def thread_count(threads: int | None, op: str) -> int:
    """threads itself, or for None the number of cores this process may use."""
    if threads is None:
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(usable, MAX_THREADS)
    return whole_number(threads, 1, MAX_THREADS, op, "threads")


def check_shapes(queries: Any, database: Any, bits: int | None, op: str) -> int:
    """The code length, after checking that both are non-empty matrices; of NumPy arrays or torch tensors."""
    for x, name in ((queries, "queries"), (database, "database")):
        if x.ndim != 2:
            raise ValueError(f"{op}: {name} must be packed codes [n, ceil(bits / 8)], got shape {tuple(x.shape)}")
        if x.shape[0] == 0:
            raise ValueError(f"{op}: {name} must have at least one row, got shape {tuple(x.shape)}")
    width = int(database.shape[1])
    if queries.shape[1] != width:
        raise ValueError(f"{op}: queries must be [nq, {width}] like the database, got shape {tuple(queries.shape)}")
    if bits is None and not 1 <= width <= MAX_BITS // 8:
        raise ValueError(f"{op}: codes must have 1 to {MAX_BITS // 8} bytes, got {width}")
    return 8 * width if bits is None else check_bits(bits, op)


def check_allow(mask: Any, nb: int, op: str) -> None:
    """ValueError unless mask, an array of any kind, is bool [nb] or uint8 [ceil(nb / 8)]."""
    dtype = str(mask.dtype).removeprefix("torch.")
    size = {"bool": nb, "uint8": (nb + 7) // 8}.get(dtype)
    if size is None:
        raise ValueError(f"{op}: allow must be bool [{nb}] or a packed uint8 bitmask [{(nb + 7) // 8}], got {dtype}")
    if tuple(mask.shape) != (size,):
        raise ValueError(f"{op}: allow of {dtype} must have shape ({size},) for {nb} codes, got {tuple(mask.shape)}")


def bitmask(allow: Any, nb: int, op: str) -> NDArray[np.uint8] | None:
    """allow on the host, packed as ``np.packbits`` does; None stays None."""
    if allow is None:
        return None
    mask = _native.to_numpy(allow, op, "allow")
    check_allow(mask, nb, op)
    return np.packbits(mask) if mask.dtype == np.bool_ else np.ascontiguousarray(mask)
