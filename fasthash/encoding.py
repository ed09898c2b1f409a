"""What a user hands over on the command line -> packed codes: texts, picture files, or a file of features."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from fasthash._files import replace_file
from fasthash.models import HashModel

_MAPPED = 1 << 26  # bytes: a larger file of features is read where it lies
_ROWS = 8192  # looked at together
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def is_picture(query: str) -> bool:
    """Whether a search query names a picture rather than being words; a picture's name without a file is an error."""
    if not query.lower().endswith(PICTURES):
        return False
    if not Path(query).is_file():
        raise FileNotFoundError(f"search: no such picture: {query}")
    return True


class Coded(Sequence[tuple[str, NDArray[np.uint8]]]):
    """Items and their packed codes, as pairs (name, uint8 [bytes]).

    Args:
        names: of all items, in order; may be made when they are asked for.
        codes: uint8 [n, bytes].
    """

    def __init__(self, names: Sequence[str], codes: NDArray[np.uint8]) -> None:
        self.names, self.codes = names, codes

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, i: int) -> tuple[str, NDArray[np.uint8]]: ...

    @overload
    def __getitem__(self, i: slice) -> Coded: ...

    def __getitem__(self, i: Any) -> Any:
        return Coded(self.names[i], self.codes[i]) if isinstance(i, slice) else (self.names[i], self.codes[i])


class _Names(Sequence[str]):
    """The names given, then file[0], file[1] and so on for the rows of a file."""

    def __init__(self, given: Sequence[str], file: Path | None, rows: range) -> None:
        self.given, self.file, self.rows = given, file, rows

    def __len__(self) -> int:
        return len(self.given) + len(self.rows)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        return self.given[i] if i < len(self.given) else f"{self.file}[{self.rows[i - len(self.given)]}]"


def read_features(path: Path) -> NDArray[np.floating[Any]]:
    """Features [n, width] from a .npy file: floats within the range of float32. A large file stays mapped."""
    try:
        mapped: Any = "r" if path.stat().st_size > _MAPPED else None
        values = np.load(path, allow_pickle=False, mmap_mode=mapped)
    except FileNotFoundError:
        raise FileNotFoundError(f"encode: no such file: {path}") from None
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise ValueError(f"encode: {path} is no readable .npy file of numbers: {error}") from None
    if not isinstance(values, np.ndarray) or values.ndim != 2 or not np.issubdtype(values.dtype, np.floating):
        got = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else "an archive of several arrays"
        raise ValueError(f"encode: {path} must hold floats [n, width], got {got}")
    if values.dtype.itemsize > 4:
        _check_range(path, values)
    return values


def _check_range(path: Path, values: NDArray[Any]) -> None:
    """ValueError where a finite number is beyond float32."""
    largest = 0.0
    for start in range(0, len(values), _ROWS):
        part = np.abs(values[start : start + _ROWS])
        largest = max(largest, float(part[np.isfinite(part)].max(initial=0)))
    if largest > float(np.finfo(np.float32).max):
        raise ValueError(f"encode: {path} has values beyond float32, the largest {largest:g}")


def encode_inputs(
    run: str | os.PathLike[str],
    *,
    texts: Sequence[str] | None = None,
    pictures: Sequence[Path] | None = None,
    features: Path | None = None,
    side: str | None = None,
    out: Path | None = None,
) -> Coded:
    """(name, packed code) of everything given; all codes together are written to ``out`` (.npy) when it is named.

    Features of a large file are read part by part: memory holds the codes alone.
    """
    if side not in ("image", "text", None):
        raise ValueError(f"encode: side must be image or text, got {side!r}")
    if side is not None and features is None:
        raise ValueError(f"encode: side says whose features they are; got side {side} without features")
    if out is not None and (out.suffix != ".npy" or out.is_dir()):
        raise ValueError(f"encode: out must be a file that ends in .npy, got {out}")
    for picture in pictures or ():
        if not picture.is_file():
            what = "a picture must be a file, got the folder" if picture.is_dir() else "no such picture:"
            raise FileNotFoundError(f"encode: {what} {picture}")
    model = HashModel.load(run)
    names: list[str] = []
    parts: list[NDArray[np.uint8]] = []
    if texts:
        names += texts
        parts.append(model.encode_text(list(texts)))
    if pictures:
        names += map(str, pictures)
        parts.append(model.encode_image(list(pictures)))
    of_file = range(0)
    if features is not None:
        values = read_features(features)
        parts.append(model.encode_text(values) if side == "text" else model.encode_image(values))
        of_file = range(len(values))
    if not parts:
        raise ValueError("encode: nothing to encode: give texts, pictures or features")
    packed = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if out is not None:

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.save(file, packed)

        replace_file(out, write)
    return Coded(_Names(names, features, of_file), packed)
