"""Files of data sets that are read from a folder: where they lie, and one line when they are missing or damaged."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.features import Picture


@dataclass(frozen=True)
class DataFolder:
    """The folder of one data set."""

    name: str
    path: Path

    @classmethod
    def find(cls, name: str, files: Sequence[str], folder: str | os.PathLike[str] | None) -> DataFolder:
        """The folder of this data set, which has these files.

        Raises:
            FileNotFoundError: neither `folder` nor FASTHASH_DATA is given, or a file is not there.
        """
        root = folder if folder is not None else os.environ.get("FASTHASH_DATA") or None
        if root is None:
            raise FileNotFoundError(
                f"{name}: FASTHASH_DATA is not set: set it to the folder that holds {name}/{files[0]}, or pass folder="
            )
        base = Path(root).expanduser()
        own = base / name if (base / name).is_dir() or not (base / files[0]).exists() else base
        said = "" if folder is not None else f" (FASTHASH_DATA={root})"
        for file in files:
            if not (own / file).exists():
                raise FileNotFoundError(f"{name}: no such file: {own / file}{said}")
        return cls(name, own)

    def npz(self, file: str, *fields: str) -> list[NDArray[Any]]:
        """Arrays of an npz file, without pickles.

        Raises:
            ValueError: the file is damaged or lacks a field.
        """
        try:
            with np.load(self.path / file, allow_pickle=False) as arrays:
                return [arrays[field] for field in fields]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise self.damaged(file, error) from None

    def text(self, file: str) -> str:
        """A UTF-8 text file.

        Raises:
            ValueError: not UTF-8.
        """
        try:
            return (self.path / file).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise self.damaged(file, error) from None

    def damaged(self, file: str, error: Exception | str) -> ValueError:
        """What to raise when a file does not hold what it should."""
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        return ValueError(f"{self.name}: {self.path / file} is damaged or another file: {line}")

    def pictures(self, members: Sequence[str], archive: str = "images.zip") -> tuple[Picture, ...] | None:
        """Pictures inside a zip file, or None when the folder has features only."""
        path = self.path / archive
        return tuple(Picture(path, member) for member in members) if path.exists() else None

    def features_by_name(self, file: str, wanted: Sequence[str]) -> NDArray[np.float32]:
        """Rows of an npz file with `features` and `names`, in the order wanted.

        Raises:
            ValueError: damaged, or a name is not in it.
        """
        features, found = self.npz(file, "features", "names")
        row = {str(name): i for i, name in enumerate(found)}
        absent = [name for name in wanted if name not in row]
        if absent:
            raise self.damaged(file, f"no features of {len(absent)} pictures, the first is {absent[0]}")
        return features[[row[name] for name in wanted]].astype(np.float32)
