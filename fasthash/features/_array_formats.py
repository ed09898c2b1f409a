"""What lies in a file of arrays: .npy, .npz, .mat of either generation, .h5, .safetensors. Never a pickle."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fasthash.features._packages import require

_HDF5 = b"\x89HDF\r\n\x1a\n"
MAPPED = 1 << 26  # bytes: a larger .npy is read where it lies


@dataclass(frozen=True)
class Held:
    """One array in a file, not read yet. Its dimensions are in the order that the program which wrote it shows."""

    shape: tuple[int, ...]
    kind: str  # "numbers", "text", or what else it is
    load: Callable[[], Any]
    part: Callable[[int, int, int], Any] | None = None  # rows start to stop along an axis; None: only all at once


def npy(path: Path) -> dict[str, Held]:
    """The one array of a .npy, under the empty name."""
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise ValueError("it does not begin as a .npy does")
        file.seek(0)
        shape, kind = _npy_head(file)
    mapped: Any = "r" if path.stat().st_size > MAPPED else None

    def part(axis: int, start: int, stop: int) -> Any:
        return np.load(path, allow_pickle=False, mmap_mode="r")[(slice(None),) * axis + (slice(start, stop),)]

    return {"": Held(shape, kind, lambda: np.load(path, allow_pickle=False, mmap_mode=mapped), part)}


def npz(path: Path) -> dict[str, Held]:
    """Arrays of a .npz; shapes come from the heads of its members."""

    def load(name: str) -> Any:
        with np.load(path, allow_pickle=False) as archive:
            return archive[name]

    if not zipfile.is_zipfile(path):
        raise ValueError("it is no zip archive, or cut off")
    found = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as file:
                    shape, kind = _npy_head(file)
                name = member.removesuffix(".npy")
                found[name] = Held(shape, kind, partial(load, name))
    return found


def _npy_head(file: Any) -> tuple[tuple[int, ...], str]:
    version = np.lib.format.read_magic(file)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(file)
    return shape, "text" if dtype.kind in "US" else "object" if dtype.hasobject else "numbers"


def safetensors(path: Path) -> dict[str, Held]:
    """Tensors of a .safetensors file."""
    open_file = require("safetensors", "safetensors", "files", "reading .safetensors").safe_open

    def load(name: str) -> Any:
        with open_file(str(path), framework="numpy") as file:
            return file.get_tensor(name)

    def part(name: str, axis: int, start: int, stop: int) -> Any:
        with open_file(str(path), framework="numpy") as file:
            return file.get_slice(name)[(slice(None),) * axis + (slice(start, stop),)]

    with open_file(str(path), framework="numpy") as file:
        return {
            name: Held(tuple(file.get_slice(name).get_shape()), "numbers", partial(load, name), partial(part, name))
            for name in sorted(file.keys())
        }


def mat(path: Path) -> dict[str, Held]:
    """Variables of a .mat file."""
    with path.open("rb") as file:
        head = file.read(520)
    if head.startswith(_HDF5) or head[512:] == _HDF5:
        return hdf5(path, matlab=True)
    io = require("scipy.io", "scipy", "files", "reading .mat files")

    def load(name: str) -> Any:
        value = io.loadmat(str(path), variable_names=[name])[name]
        return value.toarray() if hasattr(value, "toarray") else value  # labels are often kept sparse

    kinds = {"cell": "text", "char": "text", "struct": "struct", "object": "object", "opaque": "object"}
    return {
        name: Held(tuple(shape), kinds.get(kind, "numbers"), partial(load, name))
        for name, shape, kind in io.whosmat(str(path))
    }


def hdf5(path: Path, matlab: bool = False) -> dict[str, Held]:
    """Data sets of an HDF5 file. MATLAB keeps arrays column by column: HDF5 shows their dimensions in reverse."""
    h5py = require("h5py", "h5py", "files", "reading .mat files of version 7.3" if matlab else "reading .h5 files")

    def load(name: str, turned: bool) -> Any:
        with h5py.File(path, "r") as file:
            item = file[name]
            if "MATLAB_sparse" in item.attrs:
                return _hdf5_sparse(item)
            if not isinstance(item, h5py.Dataset):
                raise ValueError(f"{name!r} is a {_matlab_class(item)}, no full array of numbers")
            if _is_text(h5py, item):
                return _hdf5_text(h5py, file, item)
            values = item[()].astype(bool) if _matlab_class(item) == "logical" else np.asarray(item[()])
            return values.T if turned else values

    def part(name: str, turned: bool, axis: int, start: int, stop: int) -> Any:
        with h5py.File(path, "r") as file:
            item = file[name]
            own = item.ndim - 1 - axis if turned else axis
            values = item[(slice(None),) * own + (slice(start, stop),)]
            return values.T if turned else values

    found = {}
    with h5py.File(path, "r") as file:
        for name, item in _datasets(h5py, file):
            turned = matlab or "MATLAB_class" in item.attrs
            shape, kind = _hdf5_head(h5py, item, turned)
            some = partial(part, name, turned) if isinstance(item, h5py.Dataset) and kind == "numbers" else None
            found[name] = Held(shape, kind, partial(load, name, turned), some if shape else None)
    return found


def _datasets(h5py: Any, group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Variables by name, those in plain groups as GROUP/NAME; MATLAB's own references are left out."""
    for name in group:
        if name.startswith("#"):
            continue
        item = group[name]
        if isinstance(item, h5py.Group) and not any(key.startswith("MATLAB") for key in item.attrs):
            yield from _datasets(h5py, item, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", item


def _hdf5_head(h5py: Any, item: Any, turned: bool) -> tuple[tuple[int, ...], str]:
    if "MATLAB_sparse" in item.attrs:
        return (int(item.attrs["MATLAB_sparse"]), len(item["jc"]) - 1), "numbers"
    if not isinstance(item, h5py.Dataset):
        return (), _matlab_class(item)
    return tuple(reversed(item.shape) if turned else item.shape), "text" if _is_text(h5py, item) else "numbers"


def _hdf5_sparse(item: Any) -> Any:
    """A sparse matrix in full: rows of the values column by column, and where each column begins."""
    starts = np.asarray(item["jc"][()], np.int64)
    logical = _matlab_class(item) == "logical"
    kept = item["data"][()] if "data" in item else np.empty(0)
    out = np.zeros((int(item.attrs["MATLAB_sparse"]), len(starts) - 1), bool if logical else kept.dtype)
    if "ir" in item:
        out[np.asarray(item["ir"][()], np.int64), np.repeat(np.arange(len(starts) - 1), np.diff(starts))] = kept
    return out


def _is_text(h5py: Any, item: Any) -> bool:
    strings = h5py.check_string_dtype(item.dtype) or h5py.check_ref_dtype(item.dtype)
    return strings is not None or _matlab_class(item) in ("char", "cell")


def _hdf5_text(h5py: Any, file: Any, item: Any) -> Any:
    """Strings as scipy gives those of an older file: an array of str, or an object array of such arrays."""
    if h5py.check_ref_dtype(item.dtype) is not None:
        cells = np.empty(item.shape, object)
        for place, reference in np.ndenumerate(item[()]):
            cells[place] = _hdf5_text(h5py, file, file[reference])
        return cells.T
    if h5py.check_string_dtype(item.dtype) is not None:
        return np.asarray(item.asstr()[()], object if item.ndim else None)
    if item.attrs.get("MATLAB_empty", 0):
        return np.empty(0, "U1")
    if _matlab_class(item) != "char":
        return np.asarray(item[()])
    rows = np.asarray(item[()]).T.astype("<u2")
    return np.array([row.tobytes().decode("utf-16-le", "replace") for row in rows.reshape(-1, rows.shape[-1])])


def _matlab_class(item: Any) -> str:
    name = item.attrs.get("MATLAB_class", b"struct")
    return name.decode() if isinstance(name, bytes) else str(name)


def words(cell: Any) -> tuple[str, ...]:
    """Every string in a cell, however deep, without the blanks that fill it up.

    Raises:
        ValueError: something in it is no text.
    """
    if isinstance(cell, bytes):
        return (cell.decode("utf-8", "replace").strip(),)
    if isinstance(cell, str):
        return (cell.strip(),)
    array = np.asarray(cell)
    if array.size == 0:  # MATLAB's '' and []
        return ()
    if array.dtype.kind not in "USO":
        raise ValueError(f"holds {array.dtype} where text should be")
    return tuple(word for inner in array.flat for word in words(inner))


def listed(values: Any, n: int | None) -> list[tuple[str, ...]]:
    """The strings of each of n items, whichever way the array lies: [n], [n, 1], [1, n], or [n, k] of k strings."""
    array = np.asarray(values)
    if array.ndim == 0:
        array = array.reshape(1)
    if array.ndim == 2 and array.shape[0] != n and (array.shape[1] == n or (n is None and array.shape[0] == 1)):
        array = array.T
    return [words(row) for row in array]
