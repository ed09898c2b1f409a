"""Arrays out of files of anybody's: .npy, .npz, .mat of either generation, .h5, .safetensors. Never a pickle."""

from __future__ import annotations

import functools
import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.features import _array_formats as formats
from fasthash.features._array_formats import Held

_OPENERS: dict[str, Callable[[Path], dict[str, Held]]] = {
    ".npy": formats.npy,
    ".npz": formats.npz,
    ".mat": formats.mat,
    ".h5": formats.hdf5,
    ".hdf5": formats.hdf5,
    ".safetensors": formats.safetensors,
}
SUFFIXES = tuple(_OPENERS)
_DAMAGED = (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error)
_KNOWN = ("scipy", "safetensors", "h5py", "safetensors_rust")


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


class ArrayFile:
    """The arrays of one file, each read when it is asked for.

    Args:
        path: a file; its suffix says of which kind.
        who: who reads it, the first words of errors.
    Raises:
        FileNotFoundError: no such file.
        ValueError: a folder, another kind of file, or damaged.
        RuntimeError: the package that reads such files is missing.
    """

    def __init__(self, path: str | os.PathLike[str], who: str) -> None:
        self.path = Path(path)
        self.who = who
        _check_place(self.path, os.fspath(path), who)
        self._held: dict[str, Held] = self._guarded(lambda: _OPENERS[self.path.suffix.lower()](self.path))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays; the one of a .npy is the empty name."""
        return tuple(self._held)

    def __contains__(self, name: str) -> bool:
        return name in self._held

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape in the order of dimensions that the program which wrote the file shows."""
        return self._found(name).shape

    def kind(self, name: str) -> str:
        """ "numbers", "text", or what else the array is, such as "struct"."""
        return self._found(name).kind

    def load(self, name: str) -> NDArray[Any]:
        """The whole array.

        Raises:
            ValueError: no such array, damaged, or no full array of numbers.
        """
        found = self._found(name)
        values: NDArray[Any] = self._guarded(found.load)
        return values

    def blocks(self, name: str, axis: int = 0, rows: int = 1024) -> Iterator[tuple[int, NDArray[Any]]]:
        """Start and values of one block after the other along an axis, which comes first in them.

        Of .npy, .h5 and .mat files of version 7.3 no more than a block is in memory.
        """
        found = self._found(name)
        whole = self.load(name) if found.part is None else None
        for start in range(0, found.shape[axis], rows):
            stop = min(start + rows, found.shape[axis])
            if whole is not None:
                yield start, np.moveaxis(whole, axis, 0)[start:stop]
            elif found.part is not None:
                values = self._guarded(functools.partial(found.part, axis, start, stop))
                yield start, np.moveaxis(values, axis, 0)

    def strings(self, name: str, n: int | None = None) -> list[tuple[str, ...]]:
        """The strings of each item of a cell array, a character array or an array of strings, blanks stripped.

        Args:
            name: of the array.
            n: how many items there must be, which tells rows from columns; None: the rows, or the columns of one row.
        Raises:
            ValueError: no text, or another number of items.
        """
        found = self._found(name)
        if found.kind != "text":
            raise ValueError(f"{self.who}: {self.path}:{name} must hold text, got {found.kind} {list(found.shape)}")
        items: list[tuple[str, ...]] = self._guarded(lambda: formats.listed(found.load(), n))
        if n is not None and len(items) != n:
            raise ValueError(f"{self.who}: {self.path}:{name} must hold {n} texts, got {len(items)}")
        return items

    def _found(self, name: str) -> Held:
        if name not in self._held:
            one = "one array without a name" if self.path.suffix == ".npy" else ", ".join(self._held) or "no array"
            raise ValueError(f"{self.who}: {self.path} has no array {name!r}; it holds {one}")
        return self._held[name]

    def _guarded(self, work: Callable[[], Any]) -> Any:
        """What ``work`` returns; whatever the reading packages raise for damaged files becomes one line."""
        try:
            return work()
        except PermissionError:
            raise PermissionError(f"{self.who}: {self.path} may not be read") from None
        except RuntimeError as error:
            if type(error).__module__ == "builtins" and "needs the package" in str(error):
                raise
            raise self._damaged(error) from None
        except Exception as error:
            known = isinstance(error, _DAMAGED) or type(error).__module__.split(".")[0] in _KNOWN
            if not known and not isinstance(error, (TypeError, AttributeError, IndexError, NotImplementedError)):
                raise
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> ValueError:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        return ValueError(f"{self.who}: {self.path} is damaged or no {self.path.suffix} file: {line}")


def read(where: str | os.PathLike[str], who: str) -> FileArray:
    """The array that ``where`` names.

    Args:
        where: a file, or FILE:NAME for one array of a file of several; a file of one array needs no name.
        who: who reads it, the first words of errors: "evaluate: query".
    Raises:
        FileNotFoundError: no such file.
        ValueError: a folder, another kind of file, damaged, no such array, or several and no name.
        RuntimeError: the package that reads such files is missing.
    """
    path, name = _place(os.fspath(where))
    _check_place(path, os.fspath(where), who)
    arrays = ArrayFile(path, who)
    if name is None:
        if len(arrays.names) != 1:
            several = f"several arrays ({', '.join(arrays.names)}): name one as {path}:NAME"
            raise ValueError(f"{who}: {path} holds {several if arrays.names else 'no array'}")
        name = arrays.names[0]
    values = arrays.load(name)
    about = path.stat()
    return FileArray(values, path, name or None, _checksum(path, about.st_size, about.st_mtime_ns))


def names(path: str | os.PathLike[str], who: str) -> list[str]:
    """Names of the arrays in a file; of a .npy, which has one without a name, none. Errors as in `read`."""
    place, _ = _place(os.fspath(path))
    _check_place(place, os.fspath(path), who)
    return [name for name in ArrayFile(place, who).names if name]


def _place(where: str) -> tuple[Path, str | None]:
    """File and name; a colon belongs to the file's name where there is such a file."""
    path, name = Path(where).expanduser(), None
    if not path.exists() and ":" in where:
        before, _, name = where.rpartition(":")
        path = Path(before).expanduser()
    return path, name


def _check_place(path: Path, where: str, who: str) -> None:
    if not path.exists():
        raise FileNotFoundError(f"{who}: no such file: {where}")
    if path.is_dir():
        raise ValueError(f"{who}: {path} must be a file, got a folder")
    if path.suffix.lower() not in SUFFIXES:
        hint = " (a pickle may run any program: save arrays)" if path.suffix in (".pt", ".pth", ".pkl") else ""
        raise ValueError(f"{who}: {path} must end in {', '.join(SUFFIXES)}{hint}")


@functools.lru_cache(maxsize=8)  # a file of several arrays is read through once
def _checksum(path: Path, size: int, changed: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]
