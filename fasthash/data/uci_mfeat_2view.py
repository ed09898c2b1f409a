"""Handwritten digits in two feature views: no images and texts, but two real modalities with labels."""

from __future__ import annotations

import os

import numpy as np

from fasthash.data._files import DataFolder
from fasthash.data.dataset import PairedDataset
from fasthash.data.splits import Split
from fasthash.data.tree import one_hot
from fasthash.features._packages import require
from fasthash.features._progress import Progress

FILE = "uci_all.mat"


def load(*, folder: DataFolder, cache: str | os.PathLike[str] | None, progress: Progress) -> PairedDataset:
    """See `fasthash.data.load`: Fourier view as image, Karhunen-Loeve view as text; 1,500 to train, 500 queries."""
    io = require("scipy.io", "scipy", "test", folder.name)
    try:
        arrays = io.loadmat(folder.path / FILE)
        image, text, label = (np.concatenate([arrays[f"{x}_tr"], arrays[f"{x}_te"]]) for x in ("I", "T", "L"))
        n_train = len(arrays["I_tr"])
    except Exception as error:  # the reader has a class of its own for each kind of damage
        raise folder.damaged(FILE, error) from None
    rest = np.arange(n_train, dtype=np.int64)
    return PairedDataset(
        name=folder.name, image=image.astype(np.float32), text=text.astype(np.float32),
        split=Split(np.arange(n_train, len(image), dtype=np.int64), rest, rest),
        ids=tuple(map(str, range(len(image)))), labels=one_hot(label.ravel().astype(np.int64) - 1, 10),
        class_names=tuple(map(str, range(10))),
        notes=("two feature views of digits stand for image and text",),
        source="R. Duin, Multiple Features, UCI Machine Learning Repository", licence="CC BY 4.0",
    )  # fmt: skip
