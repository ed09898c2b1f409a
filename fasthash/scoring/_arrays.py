"""One array out of a file of anybody's: .npy, .npz, .mat of either generation, .safetensors. Never a pickle."""

from __future__ import annotations

import functools
import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.features._packages import require

OP = "evaluate"
SUFFIXES = (".npy", ".npz", ".mat", ".safetensors")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_MAPPED = 1 << 26  # bytes: a larger .npy is read where it lies
_DAMAGED = (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class FileArray:
    """An array and where it came from."""

    values: NDArray[Any]
    path: Path
    name: str | None  # inside the file; None for a .npy
    checksum: str  # 16 hexadecimal digits of the file's SHA-256

    @property
    def text(self) -> str:
        """As a user names it: codes.mat:query."""
        return str(self.path) if self.name is None else f"{self.path}:{self.name}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: where it came from, and what was there."""
        shape = list(self.values.shape)
        return {"file": self.text, "sha256": self.checksum, "dtype": str(self.values.dtype), "shape": shape}


def read(where: str | os.PathLike[str], what: str) -> FileArray:
    """The array that ``where`` names.

    Args:
        where: a file, or FILE:NAME for one array of a file of several; a file of one array needs no name.
        what: whose array it is, the second word of errors.
    Raises:
        FileNotFoundError: no such file.
        ValueError: a folder, another kind of file, damaged, no such array, or several and no name.
        RuntimeError: the package that reads such files is missing.
    """
    path, name = _place(os.fspath(where), what)
    arrays = _open(path, what)
    if name is None:
        if len(arrays) != 1:
            held = f"several arrays ({', '.join(arrays)}): name one as {path}:NAME" if arrays else "no array"
            raise ValueError(f"{OP}: {what}: {path} holds {held}")
        name = next(iter(arrays))
    elif name not in arrays or path.suffix == ".npy":
        held = "one array without a name" if path.suffix == ".npy" else ", ".join(arrays) or "no array"
        raise ValueError(f"{OP}: {what}: {path} has no array {name!r}; it holds {held}")
    values = _guarded(arrays[name], path, what)
    about = path.stat()
    return FileArray(values, path, name or None, _checksum(path, about.st_size, about.st_mtime_ns))


def names(path: str | os.PathLike[str], what: str) -> list[str]:
    """Names of the arrays in a file; of a .npy, which has one without a name, none. Errors as in `read`."""
    place, _ = _place(os.fspath(path), what)
    return [name for name in _open(place, what) if name]


def _place(where: str, what: str) -> tuple[Path, str | None]:
    """File and name; a colon belongs to the file's name where there is such a file."""
    path, name = Path(where).expanduser(), None
    if not path.exists() and ":" in where:
        before, _, name = where.rpartition(":")
        path = Path(before).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{OP}: {what}: no such file: {where}")
    if path.is_dir():
        raise ValueError(f"{OP}: {what}: {path} must be a file, got a folder")
    if path.suffix.lower() not in SUFFIXES:
        hint = " (a pickle may run any program: save arrays)" if path.suffix in (".pt", ".pth", ".pkl") else ""
        raise ValueError(f"{OP}: {what}: {path} must end in {', '.join(SUFFIXES)}{hint}")
    return path, name


Loaders = dict[str, Callable[[], Any]]


def _open(path: Path, what: str) -> Loaders:
    """Name -> what reads that array."""
    opener = {".npy": _npy, ".npz": _npz, ".mat": _mat, ".safetensors": _safetensors}[path.suffix.lower()]
    found: Loaders = _guarded(lambda: opener(path), path, what)
    return found


def _guarded(work: Callable[[], Any], path: Path, what: str) -> Any:
    """What ``work`` returns; whatever the reading packages raise for damaged files becomes one line."""
    try:
        return work()
    except PermissionError:
        raise PermissionError(f"{OP}: {what}: {path} may not be read") from None
    except RuntimeError:
        raise
    except Exception as error:
        known = isinstance(error, _DAMAGED) or type(error).__module__.split(".")[0] in ("scipy", "safetensors", "h5py")
        if not known and not isinstance(error, (TypeError, AttributeError, IndexError, NotImplementedError)):
            raise
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{OP}: {what}: {path} is damaged or no {path.suffix} file: {line}") from None


def _npy(path: Path) -> Loaders:
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise ValueError("it does not begin as a .npy does")
    mapped: Any = "r" if path.stat().st_size > _MAPPED else None
    return {"": lambda: np.load(path, allow_pickle=False, mmap_mode=mapped)}


def _npz(path: Path) -> Loaders:
    def load(name: str) -> Any:
        with np.load(path, allow_pickle=False) as archive:
            return archive[name]

    if not zipfile.is_zipfile(path):
        raise ValueError("it is no zip archive, or cut off")
    with np.load(path, allow_pickle=False) as archive:
        return {name: lambda name=name: load(name) for name in archive.files}  # type: ignore[misc]


def _safetensors(path: Path) -> Loaders:
    open_file = require("safetensors", "safetensors", "files", "reading .safetensors").safe_open

    def load(name: str) -> Any:
        with open_file(str(path), framework="numpy") as file:
            return file.get_tensor(name)

    with open_file(str(path), framework="numpy") as file:
        return {name: lambda name=name: load(name) for name in sorted(file.keys())}  # type: ignore[misc]


def _mat(path: Path) -> Loaders:
    with path.open("rb") as file:
        head = file.read(520)
    if head.startswith(_HDF5) or head[512:] == _HDF5:
        return _mat73(path)
    io = require("scipy.io", "scipy", "files", "reading .mat files")

    def load(name: str) -> Any:
        value = io.loadmat(str(path), variable_names=[name])[name]
        return value.toarray() if hasattr(value, "toarray") else value  # labels are often kept sparse

    return {name: lambda name=name: load(name) for name, *_ in io.whosmat(str(path))}  # type: ignore[misc]


def _mat73(path: Path) -> Loaders:
    """MATLAB's v7.3 is HDF5; its arrays lie column by column, so that HDF5 has the dimensions the other way round."""
    h5py = require("h5py", "h5py", "files", "reading .mat files of version 7.3")

    def load(name: str) -> Any:
        with h5py.File(path, "r") as file:
            item = file[name]
            if not isinstance(item, h5py.Dataset):
                raise ValueError(f"{name!r} is a {_matlab_class(item)}, no full array of numbers")
            values = item[()]
            return values.astype(bool).T if _matlab_class(item) == "logical" else np.asarray(values).T

    with h5py.File(path, "r") as file:
        return {name: lambda name=name: load(name) for name in file if not name.startswith("#")}  # type: ignore[misc]


def _matlab_class(item: Any) -> str:
    if "MATLAB_sparse" in item.attrs:
        return "sparse matrix"
    name = item.attrs.get("MATLAB_class", b"struct")
    return name.decode() if isinstance(name, bytes) else str(name)


@functools.lru_cache(maxsize=8)  # a file of several arrays is read through once
def _checksum(path: Path, size: int, changed: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]
