"""The Wikipedia benchmark of the papers: features as published, official split."""

from __future__ import annotations

import os

import numpy as np

from fasthash.data._files import DataFolder
from fasthash.data.dataset import PairedDataset
from fasthash.data.splits import Split
from fasthash.data.tree import one_hot
from fasthash.features._progress import Progress

FILE = "wiki_sift128_lda10.npz"


def load(*, folder: DataFolder, cache: str | os.PathLike[str] | None, progress: Progress) -> PairedDataset:
    """See `fasthash.data.load`: 2,173 training pairs, which are the database, then 693 queries."""
    sides = ("train", "test")
    fields = [f"{field}_{side}" for field in ("image", "text", "label", "doc") for side in sides]
    *arrays, classes = folder.npz(FILE, *fields, "class_names")
    image, text, label, doc = (np.concatenate(arrays[i : i + 2]) for i in range(0, len(arrays), 2))
    n_train = len(arrays[0])
    rest = np.arange(n_train, dtype=np.int64)
    return PairedDataset(
        name="wiki", image=image.astype(np.float32), text=text.astype(np.float32),
        split=Split(np.arange(n_train, len(image), dtype=np.int64), rest, rest), ids=tuple(map(str, doc)),
        labels=one_hot(label, len(classes)), class_names=tuple(map(str, classes)),
        notes=("features as published: 128-d SIFT bag of visual words, 10-d LDA topics",),
        source="N. Rasiwasia et al., A New Approach to Cross-Modal Multimedia Retrieval, ACM Multimedia 2010",
        licence="for research, with citation; no licence stated",
    )  # fmt: skip
