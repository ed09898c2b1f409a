"""Packed codes in a NumPy ``.npy`` file, mapped where they lie."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fasthash.search.storage import read_tensor

MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}  # by major version of the format
_MAX_HEADER = 1 << 14  # of a matrix of bytes: one line of a hundred


def read(path: str | os.PathLike[str], *, mmap: bool, op: str) -> NDArray[np.uint8]:
    """The uint8 matrix in a file that ``np.save`` wrote; ``op`` names the caller in errors.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no ``.npy`` file, a truncated one, or one that holds anything else than uint8 [n, width] by rows.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{op}: no .npy file at {path}")
    with open(path, "rb") as file:
        shape = _read_header(path, file, op)
        begin, total = file.tell(), os.fstat(file.fileno()).st_size
        end = begin + shape[0] * shape[1]
        if total != end:
            what = "truncated" if total < end else "damaged"
            raise ValueError(f"{op}: {path} is {what}: codes of shape {shape} want {end} bytes, the file has {total}")
        return read_tensor(path, file, "|u1", shape, begin, mmap, op)


def _read_header(path: Path, file: BinaryIO, op: str) -> tuple[int, int]:
    """The shape; the file then stands where the data begins."""
    if file.read(len(MAGIC)) != MAGIC:
        raise ValueError(f"{op}: {path} is not a .npy file")
    version = file.read(2)
    size = _LENGTH_BYTES.get(version[0], 0) if len(version) == 2 else 0
    raw = file.read(size)
    length = int.from_bytes(raw, "little")
    if not size or len(raw) < size or not 0 < length <= _MAX_HEADER:
        raise ValueError(f"{op}: {path} has a damaged header")
    text = file.read(length)
    if len(text) < length:
        raise ValueError(f"{op}: {path} is truncated: it ends within its header")
    header = _parsed(text)
    if header is None or set(header) != {"descr", "fortran_order", "shape"}:
        raise ValueError(f"{op}: {path} has a damaged header")
    return _checked(path, header, op)


def _parsed(text: bytes) -> dict[Any, Any] | None:
    """The dict that the text spells, if it does."""
    try:
        value = ast.literal_eval(text.decode("latin-1").strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # MemoryError: brackets too deep
        return None
    return value if isinstance(value, dict) else None


def _checked(path: Path, header: dict[Any, Any], op: str) -> tuple[int, int]:
    descr, shape = header["descr"], header["shape"]
    if descr not in ("|u1", "<u1", ">u1"):
        got = f"{str(descr)[:40]!r}"
        raise ValueError(f"{op}: {path} must hold packed uint8 codes ('|u1'), got {got}")
    whole = isinstance(shape, tuple) and all(type(size) is int and 0 <= size < 2**63 for size in shape)
    if not whole or len(shape) != 2:
        raise ValueError(f"{op}: {path} must hold codes [n, ceil(bits / 8)], got shape {str(shape)[:40]}")
    if header["fortran_order"] is not False:
        raise ValueError(f"{op}: {path} must hold codes row by row, got Fortran order; save np.ascontiguousarray")
    return shape
