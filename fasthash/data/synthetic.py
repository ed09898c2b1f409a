"""Pairs with known structure: a latent class tree, seen through one random linear map per modality, with noise."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from fasthash.data._files import DataFolder
from fasthash.data.dataset import PairedDataset
from fasthash.data.splits import Split, draw, rarest_label
from fasthash.data.tree import LabelTree
from fasthash.features._progress import Progress

KINDS = ("hierarchical", "multilabel", "unlabelled")
COARSE, FINE = 8, 27  # classes of the two layers, as FashionVC has
GROUPS, LABELS = 4, 24  # multi-label: classes of one group occur together; as many classes as MIRFlickr-25K
LATENT = 16  # width of the latent vectors
QUERY_SHARE = 0.2


def load(
    *,
    folder: DataFolder | None,
    cache: str | os.PathLike[str] | None,
    progress: Progress,
    kind: str = "hierarchical",
    pairs: int = 600,
    image_width: int = 64,
    text_width: int = 48,
    noise: float = 0.5,
    seed: int = 0,
) -> PairedDataset:
    """See `fasthash.data.load`. A pair's latent vector is its classes' vector plus a part of its own, which both
    modalities see; each adds noise of its own. The signal has variance 1 in every feature, the noise `noise` squared.
    """
    _check(
        kind, noise, pairs=(pairs, 2 * FINE), image_width=(image_width, 1), text_width=(text_width, 1), seed=(seed, 0)
    )
    rng = np.random.default_rng(seed)
    tree = None
    if kind == "multilabel":
        labels, latent = _multi_label(rng, pairs)
        classes = tuple(f"label {c}" for c in range(LABELS))
    else:
        tree, latent = _hierarchy(rng, pairs)
        labels, classes = tree.layers[-1].one_hot, tree.layers[-1].classes
    latent += 0.5 * rng.standard_normal(latent.shape)
    image, text = (_view(rng, latent, width, noise) for width in (image_width, text_width))
    ids = tuple(map(str, range(pairs)))
    query = draw(rarest_label(labels), ids, QUERY_SHARE, seed)
    rest = np.setdiff1d(np.arange(pairs), query)
    bare = kind == "unlabelled"
    return PairedDataset(
        name="synthetic", image=image, text=text, split=Split(query, rest, rest), ids=ids,
        labels=None if bare else labels, class_names=() if bare else classes, tree=None if bare else tree,
        notes=(f"made up: {kind}, noise {noise:g}, seed {seed}",), source="fasthash.data.synthetic", licence="CC0",
    )  # fmt: skip


def _check(kind: str, noise: float, **whole: tuple[int, int]) -> None:
    """Each of `whole` is a value and the least it may be."""
    if kind not in KINDS:
        raise ValueError(f"synthetic: kind must be one of {', '.join(KINDS)}, got {kind!r}")
    for name, (value, least) in whole.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"synthetic: {name} must be a whole number from {least}, got {value!r}")
    if not 0 <= noise < np.inf:
        raise ValueError(f"synthetic: noise must be a number from 0, got {noise!r}")


def _hierarchy(rng: np.random.Generator, pairs: int) -> tuple[LabelTree, NDArray[np.float64]]:
    """Two layers of classes of nearly equal size; a fine class lies near its coarse one."""
    fine = rng.permutation(np.arange(pairs) % FINE)
    coarse = fine % COARSE
    tree = LabelTree.from_names(
        coarse=[f"class {c}" for c in coarse], fine=[f"class {c}.{f:02d}" for c, f in zip(coarse, fine, strict=True)]
    )
    centres = rng.standard_normal((COARSE, LATENT))[np.arange(FINE) % COARSE] + 0.7 * rng.standard_normal(
        (FINE, LATENT)
    )
    return tree, centres[fine]


def _multi_label(rng: np.random.Generator, pairs: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """One to four labels a pair, all of one group; the latent vector is the mean of theirs."""
    first = rng.permutation(np.arange(pairs) % LABELS)
    labels = np.zeros((pairs, LABELS), np.uint8)
    labels[np.arange(pairs), first] = 1
    for _ in range(3):
        more = rng.integers(0, LABELS // GROUPS, pairs) * GROUPS + first % GROUPS
        labels[np.arange(pairs), more] |= (rng.random(pairs) < 0.5).astype(np.uint8)
    centres = rng.standard_normal((LABELS, LATENT))
    return labels, labels @ centres / labels.sum(axis=1, keepdims=True)


def _view(rng: np.random.Generator, latent: NDArray[np.float64], width: int, noise: float) -> NDArray[np.float32]:
    signal = latent @ rng.standard_normal((LATENT, width))
    signal = (signal - signal.mean(axis=0)) / signal.std(axis=0)
    view: NDArray[np.float32] = (signal + noise * rng.standard_normal(signal.shape)).astype(np.float32)
    return view
