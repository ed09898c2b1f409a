"""Raw pictures that lie inside an array: which axis is what, and writing them out as PNG files once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash._files import replace_file
from fasthash.features import Picture
from fasthash.features._packages import require
from fasthash.features._progress import Progress, progress_bar
from fasthash.features.array_files import ArrayFile

AXES = ("nchw", "nhwc", "hwcn", "cwhn", "ncwh", "nwhc", "whcn", "chwn")
_RECORD = "pictures.json"


def axes_of(file: ArrayFile, name: str, n: int, axes: str | None) -> str:
    """Which axis of the array of n pictures is what, as a word of n, c (3 channels), h and w.

    Of the axes left over when n and the channels are known the first is taken for the height, as in every layout that
    is shown in its own order.

    Raises:
        ValueError: it is no array of pictures, or several orders fit.
    """
    shape = file.shape(name)
    where = f"{file.who}: {file.path}:{name}"
    if file.kind(name) != "numbers" or len(shape) != 4 or n not in shape or 3 not in shape:
        raise ValueError(f"{where} must be {n} pictures of 3 channels in 4 dimensions, got {list(shape)}")
    if axes is not None:
        if (shape[axes.index("n")], shape[axes.index("c")]) != (n, 3):
            raise ValueError(f"{where} must be {axes} of {n} pictures of 3 channels, got {list(shape)}")
        return axes
    usual = ("nchw", "nhwc", "hwcn", "chwn")
    fits = [word for word in usual if (shape[word.index("n")], shape[word.index("c")]) == (n, 3)]
    if len(fits) != 1:
        open_to = " or ".join(fits) or "an unusual order"
        raise ValueError(f"{where} is {list(shape)}, which may be {open_to}: give axes, such as axes=nchw")
    return fits[0]


def export(
    file: ArrayFile, name: str, axes: str, folder: Path, names: Sequence[str] | None, progress: Progress
) -> list[Picture]:
    """Write the pictures of an array into a folder, one PNG each; those that are there already are taken as they are.

    Args:
        names: file names of the pictures, whose endings are replaced; None: their numbers.
    Raises:
        ValueError: the values are no bytes, or the folder holds the pictures of another array.
    """
    n = file.shape(name)[axes.index("n")]
    record = {"file": file.path.name, "bytes": file.path.stat().st_size, "array": name, "shape": list(file.shape(name))}
    _claim(folder, record | {"axes": axes}, file.who)
    digits = len(str(n))
    stems = [f"{i:0{digits}d}" for i in range(n)] if names is None else [_stem(given) for given in names]
    if len(set(stems)) != n:
        raise ValueError(f"{file.who}: {file.path}: names of pictures must be distinct to be written, got some twice")
    paths = [folder / f"{stem}.png" for stem in stems]
    missing = [i for i, path in enumerate(paths) if not path.exists()]
    if missing:
        image_module = require("PIL.Image", "pillow", "report", "writing pictures")
        wanted = set(missing)
        inner = axes.replace("n", "")
        order = [0, *(1 + inner.index(letter) for letter in "hwc")]
        with progress_bar("writing pictures", n, progress) as done:
            for start, block in file.blocks(name, axes.index("n"), 256):
                for i, picture in enumerate(_bytes(file, name, np.transpose(block, order)), start):
                    if i in wanted:
                        _write(paths[i], image_module.fromarray(np.ascontiguousarray(picture)))
                done(start + len(block))
    return [Picture(path) for path in paths]


def _stem(name: str) -> str:
    """A file name without folders and ending: train/im1.jpg -> train_im1."""
    return Path(name).with_suffix("").as_posix().strip("/").replace("/", "_")


def _bytes(file: ArrayFile, name: str, block: NDArray[Any]) -> NDArray[np.uint8]:
    if block.dtype == np.uint8:
        return block
    if block.size and (block.min() < 0 or block.max() > 255 or (block != np.rint(block)).any()):
        got = f"{block.dtype} from {block.min():g} to {block.max():g}"
        raise ValueError(f"{file.who}: {file.path}:{name}: pictures must be whole numbers from 0 to 255, got {got}")
    return block.astype(np.uint8)


def _write(path: Path, image: Any) -> None:
    replace_file(path, lambda temporary: image.save(temporary, "PNG"))


def _claim(folder: Path, record: dict[str, Any], who: str) -> None:
    """Note in the folder whose pictures it holds, so that those of another array are not taken for them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _RECORD
    if path.exists():
        try:
            same = json.loads(path.read_text(encoding="utf-8")) == record
        except ValueError:
            same = False
        if not same:
            raise ValueError(f"{who}: export: {folder} holds the pictures of another array: name another folder")
    else:
        replace_file(path, lambda temporary: temporary.write_text(json.dumps(record, indent=1), encoding="utf-8"))
