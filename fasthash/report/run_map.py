"""Codes of a sample of items laid out in the plane by their Hamming distances."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.codes import unpack
from fasthash.data import PairedDataset
from fasthash.evaluation import Codes
from fasthash.report.findings import CodeMap

LAYOUTS = ("tsne", "umap", "none")
DATABASE, QUERIES = 380, 140  # items shown at most, each with its image code and its text code
GROUPS = 9  # labels that are told apart; the rest is "other"
FEW = 4  # a layer of the tree with fewer classes says too little


def code_map(codes: Codes, data: PairedDataset, layout: str, seed: int) -> tuple[CodeMap | None, str]:
    """(the map, "") or (None, why there is none).

    Args:
        layout: tsne, umap or none.
        seed: of the sample and of the layout.
    Raises:
        ValueError: an unknown layout.
        RuntimeError: umap was asked for and is not installed.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"report: layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    if layout == "none":
        return None, "The codes were not laid out in the plane, as asked for."
    rng = np.random.default_rng(seed)
    drawn = [
        _draw(rng, len(part), most) for part, most in ((data.split.query, QUERIES), (data.split.database, DATABASE))
    ]
    query, database = drawn
    packed = np.concatenate(
        [
            codes.query_image[query],
            codes.database_image[database],
            codes.query_text[query],
            codes.database_text[database],
        ]
    )
    if len(packed) < 8:
        return None, "There are too few items to lay their codes out in the plane."
    signs = unpack(packed, codes.bits).astype(np.float32)
    distance = np.maximum((codes.bits - signs @ signs.T) / 2, 0)
    try:
        places = _tsne(distance, signs, seed) if layout == "tsne" else _umap(distance, seed)
    except ModuleNotFoundError as error:
        module = str(error.name).partition(".")[0]
        package = {"sklearn": "scikit-learn", "umap": "umap-learn"}.get(module, module)
        line = f"the codes in the plane need the package {package}: pip install {package}"
        if layout == "umap":
            raise RuntimeError(line) from None
        return None, line[:1].upper() + line[1:] + "."
    rows = np.concatenate([data.split.query[query], data.split.database[database]])
    groups, names, layer = _groups(data, rows)
    n = len(rows)
    is_query = np.arange(n) < len(query)
    shown = f"{len(query):,} queries (outlined) and {len(database):,} items of the database"
    told = f", coloured by {layer}" if layer else ""
    words = (
        f"{'t-SNE' if layout == 'tsne' else 'UMAP'} of the Hamming distances between the image codes and text codes of "
        f"{shown}, drawn at random{told}. Both sides are laid out together: what is close here has similar codes."
    )
    return CodeMap(
        places[:, 0], places[:, 1], np.repeat([0, 1], n), np.tile(is_query, 2), np.tile(groups, 2), names, words
    ), ""


def _draw(rng: np.random.Generator, n: int, most: int) -> NDArray[np.int64]:
    return np.sort(rng.permutation(n)[:most])


def _tsne(distance: NDArray[np.float32], signs: NDArray[np.float32], seed: int) -> NDArray[np.float64]:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    # from the two directions in which the codes differ most, not from chance: the large groups keep their places
    start = PCA(2, random_state=seed).fit_transform(signs)
    start = (start / max(float(start[:, 0].std()), 1e-6) * 1e-4).astype(np.float32)
    near = min(30.0, (len(distance) - 1) / 3)
    made = TSNE(metric="precomputed", init=start, perplexity=near, random_state=seed)
    return np.asarray(made.fit_transform(distance), np.float64)


def _umap(distance: NDArray[np.float32], seed: int) -> NDArray[np.float64]:
    from umap import UMAP

    near = min(15, len(distance) - 1)
    return np.asarray(
        UMAP(metric="precomputed", n_neighbors=near, random_state=seed).fit_transform(distance), np.float64
    )


def _groups(data: PairedDataset, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[str], str]:
    """(index of each row's group, their names, what they are called together).

    Of a tree the coarsest layer that says enough; of several labels of an item the rarest among the most frequent.
    """
    if data.labels is None:
        return np.zeros(len(rows), np.int64), ["items"], ""
    layer, names, labels = "label", list(data.class_names), data.labels
    if data.tree is not None:
        fine: Any = next((one for one in data.tree.layers if len(one.classes) > FEW), data.tree.layers[-1])
        layer, names, labels = fine.name, list(fine.classes), fine.one_hot
    mine = labels[rows].astype(bool)
    count = mine.sum(axis=0)
    kept = np.argsort(-count, kind="stable")[:GROUPS]
    kept = kept[count[kept] > 0]
    groups = np.full(len(rows), len(kept), np.int64)
    for place, one in enumerate(kept):  # the rarest last, so that it wins
        groups[mine[:, one]] = place
    found = [names[one] for one in kept]
    return groups, found + (["other"] if (groups == len(kept)).any() else []), layer
