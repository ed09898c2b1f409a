"""Data without cached features of a side in a comparison: what is said of it, and what cannot run on it."""

from dataclasses import replace

import pytest

from fasthash import data
from fasthash.compare.compared import DataFacts
from fasthash.compare.output import facts_text
from fasthash.compare.peers import PEERS
from fasthash.features import Picture


@pytest.fixture
def raw():
    pairs = data.load("synthetic", pairs=60, image_width=6, text_width=5)
    return replace(pairs, image=None, pictures=[Picture("none.png")] * 60)


def test_widths_are_those_of_features(raw):
    facts = DataFacts.of("raw", "raw", raw)
    assert facts.widths == (None, 5)
    assert facts_text(facts).endswith("no image features, text features 5 wide.")


@pytest.mark.parametrize("name", ["ridge"])
def test_closed_forms_need_features(raw, name):
    line = f"^{name}: needs image features, synthetic has raw pictures only: make them with `fasthash embed`$"
    peer = PEERS[name]
    with pytest.raises(ValueError, match=line):
        peer.check(raw, {})
