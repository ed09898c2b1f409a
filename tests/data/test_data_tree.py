"""Label trees and draws."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthash.data import LabelTree, Layer
from fasthash.data.splits import draw, hash_order, rarest_label


def test_from_names():
    tree = LabelTree.from_names(group=["b", "a", "b", "a"], kind=["x", "y", "w", "x"])
    assert [layer.classes for layer in tree.layers] == [("a", "b"), ("x", "y", "w", "x")]  # by path: a-x, a-y, b-w, b-x
    assert tree.ids.tolist() == [[1, 3], [0, 1], [1, 2], [0, 0]]
    assert [p.tolist() for p in tree.parents] == [[0, 0, 1, 1]]
    assert tree.layers[0].one_hot.tolist() == [[0, 1], [1, 0], [0, 1], [1, 0]]
    assert str(tree) == "group (2) > kind (4)"
    assert len(tree) == 2
    some = tree.take(np.array([1, 3]))
    assert some.ids.tolist() == [[0, 1], [0, 0]]
    assert [p.tolist() for p in some.parents] == [[0, 0, -1, -1]]  # classes stay, two of them empty now


def layer(name, ids, classes="abc"):
    return Layer(name, tuple(classes), np.array(ids, np.int64))


@pytest.mark.parametrize(
    ("layers", "line"),
    [
        ((), "layers must be at least one"),
        ((layer("top", [0, 1]), layer("low", [0])), r"layer low ids must be int64 \[2\], got int64 \(1,\)"),
        ((Layer("top", ("a",), np.zeros(2, np.int32)),), r"layer top ids must be int64 \[2\], got int32"),
        ((layer("top", [0, 3]),), "layer top ids must be from 0 to 2, got 0 to 3"),
        ((layer("top", [-1, 0]),), "layer top ids must be from 0 to 2, got -1 to 0"),
        (
            (layer("top", [0, 1, 2]), layer("low", [0, 1, 1])),
            "class 'b' of layer low must lie in one class of layer top, got 'c' and 'b'",
        ),
    ],
)
def test_tree_refuses(layers, line):
    with pytest.raises(ValueError, match=f"^LabelTree: {line}"):
        LabelTree(layers)


def test_from_names_refuses_other_lengths():
    with pytest.raises(ValueError, match="layer kind must have 2 items like the first, got 1"):
        LabelTree.from_names(group=["a", "b"], kind=["x"])


GROUPS = st.lists(st.integers(0, 4), min_size=2, max_size=60)


@given(GROUPS, st.floats(0.05, 0.95), st.integers(0, 5))
def test_draw_takes_a_share_of_every_group(groups, fraction, seed):
    groups = np.array(groups)
    ids = [f"item {i}" for i in range(len(groups))]
    rows = draw(groups, ids, fraction, seed)
    assert (np.diff(rows) > 0).all()
    taken = Counter(groups[rows].tolist())
    for group, size in Counter(groups.tolist()).items():
        assert taken[group] <= max(size - 1, 0)
        assert taken[group] >= (1 if size > 1 else 0)
        assert abs(taken[group] - fraction * size) <= 1
    order = np.random.default_rng(0).permutation(len(groups))
    again = draw(groups[order], [ids[i] for i in order], fraction, seed)
    assert {ids[order[i]] for i in again} == {ids[i] for i in rows}


def test_hash_order_is_fixed_for_ever():
    """A change here changes every split that was ever reported."""
    assert hash_order(list("abcdefgh"), 0).tolist() == [5, 3, 0, 4, 1, 6, 7, 2]
    assert hash_order(list("abcdefgh"), 1).tolist() == [7, 5, 6, 3, 0, 4, 2, 1]


def test_rarest_label():
    labels = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, 0], [1, 1, 1]], np.uint8)  # counts 4, 2, 2
    assert rarest_label(labels).tolist() == [
        1,
        0,
        2,
        3,
        1,
    ]  # of equally rare ones the first; no label: one past the last
