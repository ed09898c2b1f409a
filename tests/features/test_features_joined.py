"""Joined: parts side by side, rebuilt from their description."""

import json

import numpy as np
import pytest

from fasthash.features import BagOfWords, Joined, from_config

TEXTS = ["red heart", "blue heart", "green car"]


@pytest.fixture
def joined():
    return Joined([BagOfWords.fit(TEXTS), BagOfWords.fit(TEXTS[:2], weighting="binary", norm=None)])


def test_is_the_parts_side_by_side(joined):
    want = np.hstack([part.encode(TEXTS) for part in joined.parts])
    assert joined.width == want.shape[1]
    assert np.array_equal(joined.encode(TEXTS), want)


def test_round_trip(joined):
    again = from_config(json.loads(json.dumps(joined.config())), joined.tensors())
    assert np.array_equal(again.encode(["red car", ""]), joined.encode(["red car", ""]))


def test_bad_input():
    with pytest.raises(ValueError, match="at least one extractor"):
        Joined([])
    with pytest.raises(ValueError, match="must have a list 'parts'"):
        from_config({"kind": "joined"})
