"""What a user hands over on the command line -> packed codes: texts, picture files, or a file of features."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fasthash._files import replace_file
from fasthash.models import HashModel

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def is_picture(query: str) -> bool:
    """Whether a search query names a picture rather than being words; a picture's name without a file is an error."""
    if not query.lower().endswith(PICTURES):
        return False
    if not Path(query).is_file():
        raise FileNotFoundError(f"search: no such picture: {query}")
    return True


def read_features(path: Path) -> NDArray[np.float32]:
    """Features [n, width] from a .npy file, as float32."""
    try:
        values = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"encode: no such file: {path}") from None
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise ValueError(f"encode: {path} is no readable .npy file of numbers: {error}") from None
    if not isinstance(values, np.ndarray) or values.ndim != 2 or not np.issubdtype(values.dtype, np.floating):
        got = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else "an archive of several arrays"
        raise ValueError(f"encode: {path} must hold floats [n, width], got {got}")
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32, copy=False)
    if np.isfinite(values).all() and not np.isfinite(narrow).all():
        raise ValueError(f"encode: {path} has values beyond float32, the largest {np.abs(values).max():g}")
    return narrow


def encode_inputs(
    run: str | os.PathLike[str],
    *,
    texts: Sequence[str] | None = None,
    pictures: Sequence[Path] | None = None,
    features: Path | None = None,
    side: str | None = None,
    out: Path | None = None,
) -> list[tuple[str, NDArray[np.uint8]]]:
    """(name, packed code) of everything given; all codes together are written to ``out`` (.npy) when it is named."""
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
    rows: list[tuple[str, NDArray[np.uint8]]] = []
    if texts:
        rows += zip(texts, model.encode_text(list(texts)), strict=True)
    if pictures:
        rows += zip(map(str, pictures), model.encode_image(list(pictures)), strict=True)
    if features is not None:
        values = read_features(features)
        coded = model.encode_text(values) if side == "text" else model.encode_image(values)
        rows += ((f"{features}[{i}]", code) for i, code in enumerate(coded))
    if not rows:
        raise ValueError("encode: nothing to encode: give texts, pictures or features")
    if out is not None:
        packed = np.stack([code for _, code in rows])

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.save(file, packed)

        replace_file(out, write)
    return rows
