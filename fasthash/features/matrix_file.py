"""One float32 matrix [n, width] in a safetensors file: written in blocks, read where it lies.

The number of rows is known before the first one, so the header stands in front and is final from the start; any reader
of safetensors takes such a file. It has no checksum of its own: a prepared folder keeps that of the whole file in its
``dataset.json``. `matrix_writer` writes one that goes on after a kill.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fasthash._files import replace_file

TENSOR = "features"
FORMAT = "fasthash.matrix"
BLOCK_BYTES = 1 << 24  # of `matrix_blocks`
_LIMIT = 100_000_000  # bytes of a header, as the format says
_ALIGN = 64  # the first row begins a cache line
ITEM = np.dtype("<f4")


def map_matrix(path: str | os.PathLike[str], op: str = "load") -> np.memmap[Any, np.dtype[np.float32]]:
    """The matrix of a file, read-only, where it lies: float32 [n, width].

    Args:
        path: a safetensors file whose only tensor is called "features".
        op: the first word of errors.
    Raises:
        FileNotFoundError: no such file.
        ValueError: no safetensors file, another content, or cut off; one line.
    """
    rows, width, start, _ = _read_header(Path(path), op)
    return np.memmap(path, ITEM, "r", start, (rows, width))


def matrix_blocks(path: str | os.PathLike[str], op: str = "load") -> Iterator[NDArray[np.float32]]:
    """The matrix of a file in blocks [m, width] that are read, not mapped: no more than one is in memory.

    Errors as of `map_matrix`.
    """
    rows, width, start, _ = _read_header(Path(path), op)
    step = max(1, BLOCK_BYTES // (width * ITEM.itemsize))
    with open(path, "rb") as file:
        file.seek(start)
        for first in range(0, rows, step):
            yield np.fromfile(file, ITEM, min(step, rows - first) * width).reshape(-1, width)


def matrix_metadata(path: str | os.PathLike[str], op: str = "load") -> dict[str, str]:
    """What was said of the matrix when it was written. Errors as of `map_matrix`."""
    return _read_header(Path(path), op)[3]


def write_matrix(
    path: str | os.PathLike[str],
    blocks: Iterable[NDArray[Any]],
    rows: int,
    width: int,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a matrix block by block, whole or not at all; no more than a block is held.

    Args:
        path: where the file shall stand.
        blocks: arrays [m, width] whose m add up to ``rows``.
        metadata: strings by name, for `matrix_metadata`.
    Raises:
        ValueError: a block of another width, or too many or too few rows.
        OSError: the disk is full...: an older file at ``path`` still stands.
    """
    head = header(rows, width, metadata or {})

    def write(temporary: Path) -> None:
        done = 0
        with temporary.open("wb") as file:
            file.write(head)
            for block in blocks:
                done += len(block)
                put_block(file, block, done, rows, width)
        if done != rows:
            raise ValueError(f"write_matrix: blocks must add up to {rows} rows, got {done}")

    replace_file(path, write)


def put_block(file: IO[bytes], block: NDArray[Any], done: int, rows: int, width: int) -> None:
    if block.ndim != 2 or block.shape[1] != width:
        raise ValueError(f"matrix: a block must be [m, {width}], got {block.shape}")
    if done > rows:
        raise ValueError(f"matrix: blocks must add up to {rows} rows, got {done} or more")
    file.write(np.ascontiguousarray(block, ITEM).data)


def header(rows: int, width: int, metadata: Mapping[str, str]) -> bytes:
    if rows < 1 or width < 1:
        raise ValueError(f"matrix: rows and width must be 1 or more, got [{rows}, {width}]")
    if not all(isinstance(text, str) for pair in metadata.items() for text in pair):
        raise TypeError("matrix: metadata must be strings by name")
    tensor = {"dtype": "F32", "shape": [rows, width], "data_offsets": [0, rows * width * ITEM.itemsize]}
    text = json.dumps({"__metadata__": {"format": FORMAT, **metadata}, TENSOR: tensor}).encode()
    size = -(-(8 + len(text)) // _ALIGN) * _ALIGN - 8
    if size > _LIMIT:
        raise ValueError(f"matrix: metadata must fit into {_LIMIT:,} bytes, got {len(text):,}")
    return size.to_bytes(8, "little") + text.ljust(size)


def _read_header(path: Path, op: str) -> tuple[int, int, int, dict[str, str]]:
    """Rows, width, place of the first row, metadata."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            text = file.read(length) if 2 <= length <= min(_LIMIT, size - 8) else b""
    except FileNotFoundError:
        raise FileNotFoundError(f"{op}: no such file: {path}") from None
    except IsADirectoryError:
        raise ValueError(f"{op}: {path} must be a file, got a folder") from None
    try:
        tensors = json.loads(text)
        metadata = tensors.pop("__metadata__", None) or {}
        names = list(tensors)
    except (ValueError, AttributeError, TypeError, RecursionError):  # bad UTF-8 is a ValueError too
        raise ValueError(f"{op}: {path} is no safetensors file, or cut off") from None
    if names != [TENSOR]:
        held = ", ".join(names[:5]) or "none"
        raise ValueError(f"{op}: {path} must hold one tensor {TENSOR!r}, got {held}")
    rows, width, end = _shape(tensors[TENSOR], path, op)
    if size != 8 + length + end:
        raise ValueError(
            f"{op}: {path} is cut off or has more behind it: needs {8 + length + end:,} bytes, has {size:,}"
        )
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"{op}: {path} is damaged: its metadata must be strings")
    return rows, width, 8 + length, metadata


def _shape(tensor: Any, path: Path, op: str) -> tuple[int, int, int]:
    """Rows, width, bytes."""
    tensor = tensor if isinstance(tensor, dict) else {}
    dtype, shape, offsets = (tensor.get(name) for name in ("dtype", "shape", "data_offsets"))
    numbers = isinstance(shape, list) and len(shape) == 2 and all(type(side) is int and side > 0 for side in shape)
    if dtype != "F32" or not numbers:
        raise ValueError(f"{op}: {path}: {TENSOR} must be F32 [n, width] with a row and a column, got {dtype} {shape}")
    assert isinstance(shape, list)
    rows, width = shape
    end = rows * width * ITEM.itemsize
    if offsets != [0, end]:
        raise ValueError(f"{op}: {path} is damaged: {TENSOR} must lie at [0, {end}], got {offsets}")
    return rows, width, end
