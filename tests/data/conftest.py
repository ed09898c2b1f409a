import os

import numpy as np
import pytest

from fasthash import data
from fasthash.data import LabelTree, PairedDataset, Split


@pytest.fixture(scope="session")
def feature_cache(tmp_path_factory):
    """One cache for the whole session: the image network runs over the emoji once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def emoji(feature_cache):
    reason = data.names()["emoji"].reason
    if reason:
        pytest.skip(reason)
    return data.load("emoji", cache=feature_cache, progress=False)


@pytest.fixture
def load_here():
    """load(name), or a skip where the folder is not here."""

    def load(name, **options):
        if "FASTHASH_DATA" not in os.environ:
            pytest.skip("FASTHASH_DATA is not set")
        reason = data.names()[name].reason
        if reason:
            pytest.skip(reason)
        return data.load(name, **options)

    return load


@pytest.fixture
def parts():
    """The fields of a small correct data set: 12 pairs, 3 classes in 2 groups; change one and build."""
    rng = np.random.default_rng(0)
    ids = np.arange(12) % 3
    tree = LabelTree.from_names(group=[("a", "a", "b")[i] for i in ids], kind=[f"k{i}" for i in ids])
    query, rest = np.arange(3), np.arange(3, 12)
    return {
        "name": "small",
        "image": rng.standard_normal((12, 5)).astype(np.float32),
        "text": rng.standard_normal((12, 4)).astype(np.float32),
        "labels": np.eye(3, dtype=np.uint8)[ids],
        "class_names": ("k0", "k1", "k2"),
        "tree": tree,
        "split": Split(query, rest, rest),
        "ids": tuple("abcdefghijkl"),
    }


@pytest.fixture
def small(parts):
    return PairedDataset(**parts)
