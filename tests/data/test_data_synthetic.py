"""Made-up data: its structure is there, noise hides it, and the seed fixes it."""

import numpy as np
import pytest

from fasthash import data


def test_hierarchical():
    made = data.load("synthetic")
    assert str(made.tree) == "coarse (8) > fine (27)"
    assert len(made) == 600
    assert (made.image.shape[1], made.text.shape[1]) == (64, 48)
    assert sorted({*made.split.query} | {*made.split.database}) == list(range(600))
    made.require(labels=True, tree=True, op="test")


def test_multilabel():
    made = data.load("synthetic", kind="multilabel")
    per_pair = made.labels.sum(axis=1)
    assert made.labels.shape == (600, 24)
    assert (per_pair.min(), per_pair.max()) == (1, 4)
    assert made.tree is None
    groups = [set(np.flatnonzero(row) % 4) for row in made.labels]
    assert all(len(group) == 1 for group in groups)  # labels of one pair belong together


def test_unlabelled_is_the_hierarchical_one_without_labels():
    bare, full = data.load("synthetic", kind="unlabelled"), data.load("synthetic")
    assert bare.labels is None
    assert bare.tree is None
    np.testing.assert_array_equal(bare.image, full.image)
    with pytest.raises(ValueError, match="dcmh: needs labels, synthetic has none"):
        bare.require(labels=True, op="dcmh")


def test_seed_fixes_everything():
    assert data.load("synthetic", seed=4).checksum() == data.load("synthetic", seed=4).checksum()
    assert data.load("synthetic", seed=4).checksum() != data.load("synthetic", seed=5).checksum()


def class_separation(made, field):
    """Share of pairs whose nearest class mean is their own."""
    x, ids = getattr(made, field), made.labels.argmax(1)
    means = np.stack([x[ids == c].mean(axis=0) for c in range(made.labels.shape[1])])
    return (((x[:, None] - means) ** 2).sum(axis=2).argmin(axis=1) == ids).mean()


@pytest.mark.parametrize("field", ["image", "text"])
def test_both_views_show_the_classes_and_noise_hides_them(field):
    clear, noisy = (class_separation(data.load("synthetic", noise=noise), field) for noise in (0.1, 8.0))
    assert clear > 0.85
    assert noisy < 0.6 * clear


def test_coarse_classes_hold_their_fine_ones():
    made = data.load("synthetic", noise=0)
    coarse, fine = made.tree.ids.T
    means = np.stack([made.image[fine == c].mean(axis=0) for c in range(27)])
    apart = ((means[:, None] - means) ** 2).sum(axis=2)
    parent = made.tree.parents[0]
    same = parent[:, None] == parent
    np.fill_diagonal(same, False)
    other = parent[:, None] != parent
    assert apart[same].mean() < 0.6 * apart[other].mean()
    assert len(np.unique(coarse)) == 8


@pytest.mark.parametrize("noise", [0.0, 0.5, 2.0])
def test_variance_is_signal_plus_noise(noise):
    made = data.load("synthetic", pairs=4000, noise=noise)
    np.testing.assert_allclose(made.image.var(axis=0).mean(), 1 + noise**2, rtol=0.05)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"kind": "tree"}, "kind must be one of hierarchical, multilabel, unlabelled, got 'tree'"),
        ({"pairs": 53}, "pairs must be a whole number from 54, got 53"),
        ({"image_width": 0}, "image_width must be a whole number from 1, got 0"),
        ({"text_width": 2.5}, "text_width must be a whole number from 1, got 2.5"),
        ({"seed": -1}, "seed must be a whole number from 0, got -1"),
        ({"noise": -1}, "noise must be a number from 0, got -1"),
        ({"noise": float("nan")}, "noise must be a number from 0, got nan"),
    ],
)
def test_refuses(options, line):
    with pytest.raises(ValueError, match=f"^synthetic: {line}"):
        data.load("synthetic", **options)
