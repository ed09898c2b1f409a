"""Arrays of HiCHNet and SHDCH: image.mat (Image), tag.mat (Tag), label.mat (Label); FashionVC and Ssense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.data.gathered import Gathered
from fasthash.data.readers import _array_pictures as array_pictures
from fasthash.data.readers._field import known_name, matrix, multi_hot, one_of, whole
from fasthash.data.readers._registry import reader
from fasthash.features._progress import Progress
from fasthash.features.array_files import ArrayFile

KIND = "hichnet"
_COARSE = {35: 8, 32: 4}  # classes in all -> of the coarse layer: FashionVC, Ssense


def _is_hichnet(where: Path) -> bool:
    if not where.is_dir() or not (where / "tag.mat").is_file() or not (where / "label.mat").is_file():
        return False
    return "Tag" in ArrayFile(where / "tag.mat", KIND) and "Label" in ArrayFile(where / "label.mat", KIND)


@reader(
    KIND,
    "arrays of HiCHNet and SHDCH: image.mat (Image), tag.mat (Tag), label.mat (Label), two layers; FashionVC, Ssense",
    {
        "coarse": "how many of the first columns of Label are the coarse layer; default: 8 of 35, 4 of 32",
        "layers": "yes (default), or no: the columns of Label as labels of one layer",
        "export": "folder that the pictures of Image are written to as PNG; default: they are left out",
        "axes": "order of the axes of Image where its shape leaves it open, such as nhwc",
    },
    detect=_is_hichnet,
)
def read(
    where: Path,
    *,
    name: str | None,
    progress: Progress,
    coarse: int | str | None = None,
    layers: str = "yes",
    export: str | None = None,
    axes: str | None = None,
) -> Gathered:
    """See `fasthash.data.readers.read`."""
    if not where.is_dir():
        raise ValueError(f"{KIND}: {where} must be the folder of tag.mat and label.mat, got a file")
    axes = None if axes is None else one_of(KIND, "axes", axes, array_pictures.AXES)
    label_file, tag_file = ArrayFile(where / "label.mat", KIND), ArrayFile(where / "tag.mat", KIND)
    n = label_file.shape("Label")[0]
    labels = multi_hot(label_file, "Label", n, "rows")
    text = matrix(tag_file, "Tag", n, "rows", np.float32)
    classes = labels.shape[1]
    pictures, notes = None, []
    if (where / "image.mat").is_file():
        image = ArrayFile(where / "image.mat", KIND)
        if export is None:
            notes.append("the pictures inside image.mat:Image are left out: export=FOLDER writes them as files")
        else:
            order = array_pictures.axes_of(image, "Image", n, axes)
            pictures = array_pictures.export(image, "Image", order, Path(export).expanduser(), None, progress)
    elif export is not None:
        raise FileNotFoundError(f"{KIND}: no such file: {where / 'image.mat'}")
    tree = one_of(KIND, "layers", layers, ("yes", "no")) == "yes"
    cut = (_COARSE.get(classes) if coarse is None else whole(KIND, "coarse", coarse)) if tree else None
    if tree and (cut is None or cut >= classes):
        said = "given" if cut is None else f"fewer than the {classes} columns of Label"
        raise ValueError(f"{KIND}: coarse, the number of coarse classes, must be {said}, got {coarse!r}")
    return Gathered(
        name=name or known_name(n, classes, where.resolve().name), pictures=pictures, text=text, text_features="bow",
        labels=None if tree else labels, class_names=() if tree else tuple(str(i) for i in range(classes)),
        layers=_layers(label_file, labels, cut) if cut is not None else {}, notes=tuple(notes),
        source="files in the layout of C. Sun et al., Supervised Hierarchical Cross-Modal Hashing, SIGIR 2019",
    )  # fmt: skip


def _layers(file: ArrayFile, labels: NDArray[Any], coarse: int) -> dict[str, list[str]]:
    """The one class of each pair in either layer; fine ones each in one coarse class."""
    ids = []
    for title, part in (("coarse", labels[:, :coarse]), ("fine", labels[:, coarse:])):
        wrong = np.flatnonzero(part.sum(axis=1, dtype=np.int64) != 1)
        if len(wrong):
            got = f"{part[wrong[0]].sum()} in row {wrong[0]} and {len(wrong)} such rows"
            hint = "is coarse another number? layers=no takes the columns as they are"
            raise ValueError(f"{KIND}: {file.path}:Label must have one {title} class a row, got {got}; {hint}")
        ids.append(part.argmax(axis=1))
    above = np.full(labels.shape[1] - coarse, -1)
    above[ids[1]] = ids[0]
    wrong = np.flatnonzero(above[ids[1]] != ids[0])
    if len(wrong):
        row = int(wrong[0])
        both = f"{ids[0][row]} and {above[ids[1][row]]}"
        hint = "layers=no takes the columns as they are"
        raise ValueError(
            f"{KIND}: {file.path}:Label: fine class {ids[1][row]} must lie in one coarse class, got {both}; {hint}"
        )
    digits = len(str(labels.shape[1]))
    return {
        title: [f"{title} {i:0{digits}d}" for i in found] for title, found in zip(("coarse", "fine"), ids, strict=True)
    }
