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
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"encode: {path} is no .npy file of numbers: {error}") from None
    if not isinstance(values, np.ndarray) or values.ndim != 2 or not np.issubdtype(values.dtype, np.floating):
        shape = getattr(values, "shape", None)
        raise ValueError(f"encode: {path} must hold floats [n, width], got {getattr(values, 'dtype', '?')} {shape}")
    return values.astype(np.float32, copy=False)


def encode_inputs(
    run: str | os.PathLike[str],
    *,
    texts: Sequence[str] | None = None,
    pictures: Sequence[Path] | None = None,
    features: Path | None = None,
    side: str = "image",
    out: Path | None = None,
) -> list[tuple[str, NDArray[np.uint8]]]:
    """(name, packed code) of everything given; all codes together are written to ``out`` (.npy) when it is named."""
    if side not in ("image", "text"):
        raise ValueError(f"encode: side must be image or text, got {side!r}")
    if out is not None and out.suffix != ".npy":
        raise ValueError(f"encode: out must end in .npy, got {out}")
    for picture in pictures or ():
        if not picture.is_file():
            raise FileNotFoundError(f"encode: no such picture: {picture}")
    model = HashModel.load(run)
    rows: list[tuple[str, NDArray[np.uint8]]] = []
    if texts:
        rows += zip(texts, model.encode_text(list(texts)), strict=True)
    if pictures:
        rows += zip(map(str, pictures), model.encode_image(list(pictures)), strict=True)
    if features is not None:
        values = read_features(features)
        coded = model.encode_image(values) if side == "image" else model.encode_text(values)
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
