"""Canonical correlations as codes, against independent solvers; which directions there are, and what is refused."""

import numpy as np
import pytest
import torch
from cca_truth import cca_truth, covariances
from shallow_cases import fit, make_views, pair_agreement, projections, weights
from sklearn.cross_decomposition import CCA as IterativeCCA

import fasthash
from fasthash import data
from fasthash.methods import get, resolve_options


@pytest.mark.parametrize("ridge", [1e-6, 0.3, 5.0])
def test_directions_solve_the_generalised_eigenproblem(ridge):
    image, text = make_views()
    w_x, w_y = weights(fit("cca", image, text, 5, ridge=ridge))
    *wanted, correlations = cca_truth(image, text, ridge, 5)
    np.testing.assert_allclose(w_x, wanted[0], atol=1e-8)
    np.testing.assert_allclose(w_y, wanted[1], atol=1e-8)
    c_xx, c_yy, c_xy = covariances(image, text, ridge)
    np.testing.assert_allclose(w_x.T @ c_xx @ w_x, np.eye(5), atol=1e-9)
    np.testing.assert_allclose(w_y.T @ c_yy @ w_y, np.eye(5), atol=1e-9)
    np.testing.assert_allclose(w_x.T @ c_xy @ w_y, np.diag(correlations), atol=1e-9)


def test_correlations_are_those_of_scikit_learn():
    image, text = make_views()
    found = projections(fit("cca", image, text, 3, ridge=1e-9), image, text)
    scores = IterativeCCA(n_components=3, max_iter=5000, tol=1e-12).fit_transform(image, text)
    for pairs in (found, scores):
        assert pairs[0].shape == (80, 3)
    ours, theirs = ([np.corrcoef(a, b)[0, 1] for a, b in zip(*(s.T for s in x), strict=True)] for x in (found, scores))
    np.testing.assert_allclose(ours, np.abs(theirs), atol=1e-5)


@pytest.mark.parametrize("widths", [(50, 40), (50, 6)], ids=str)
def test_more_features_than_pairs(widths):
    image, text = make_views(20, *widths)
    solution = fit("cca", image, text, 4, ridge=0.3)  # in the span of the rows
    *wanted, _ = cca_truth(image, text, 0.3, 4)  # in all of the space
    for got, truth in zip(weights(solution), wanted, strict=True):
        np.testing.assert_allclose(got, truth, atol=1e-8)
    assert pair_agreement(solution, image, text) > 0.8


def test_few_of_many_directions_are_the_first_of_all():
    image, text = make_views(300, 40, 30, latent=20)
    few, all_of_them = (weights(fit("cca", image, text, bits, ridge=0.1)) for bits in (5, 30))
    for some, every in zip(few, all_of_them, strict=True):
        np.testing.assert_allclose(some, every[:, :5], atol=1e-7)  # by way of squared singular values


def test_signs_of_the_directions_are_decided():
    image, text = make_views()
    w_x, _ = weights(fit("cca", image, text, 5))
    assert (w_x[np.abs(w_x).argmax(axis=0), np.arange(5)] > 0).all()
    again, _ = weights(fit("cca", image[::-1], text[::-1], 5))  # the same pairs in another order
    np.testing.assert_allclose(again, w_x, atol=1e-8)


def test_codes_do_not_depend_on_shift_and_scale():
    image, text = make_views()
    plain = projections(fit("cca", image, text, 5), image, text)
    image, text = 1000 * image + 5, text / 7 - 2
    moved = projections(fit("cca", image, text, 5), image, text)
    np.testing.assert_allclose(np.hstack(moved), np.hstack(plain), atol=1e-8)


def test_a_constant_feature_has_no_weight():
    image, text = make_views()
    plain = weights(fit("cca", image, text, 3, ridge=1e-9))
    wider, _ = weights(fit("cca", np.hstack([image, np.ones((80, 1))]), text, 3, ridge=1e-9))
    np.testing.assert_allclose(wider[-1], 0, atol=1e-12)
    np.testing.assert_allclose(wider[:-1], plain[0], atol=1e-6)  # of the ridge: the mean variance is another


def test_anchors_give_more_directions_than_features():
    image, text = make_views(n=60)
    solution = fit("cca", image, text, 12, anchors=30, ridge=0.01)
    assert weights(solution)[0].shape == (30, 12)
    h, _ = projections(solution, image, text)
    np.testing.assert_allclose(h.mean(axis=0), 0, atol=1e-9)


@pytest.mark.parametrize(
    ("bits", "options", "message"),
    [
        (6, {}, r"^cca: bits must be at most 5, the width of the narrower features \(7 and 5\); more anchors .*got 6$"),
        (41, {"anchors": 40}, "^cca: bits must be at most 40, the anchors; more anchors give more, got 41$"),
        (12, {"anchors": 40}, "^cca: bits must be at most 11, the correlated directions of 12 pairs, got 12$"),
    ],
)
def test_more_bits_than_directions_are_refused(bits, options, message):
    image, text = make_views(12)
    with pytest.raises(ValueError, match=message):
        fit("cca", image, text, bits, **options)


@pytest.mark.parametrize(("option", "value"), [("ridge", 0), ("ridge", "much"), ("anchors", -1), ("scale", "all")])
def test_bad_options_are_one_line(option, value):
    with pytest.raises(ValueError, match=f"^cca: option {option}: .*, got {value!r}$"):
        resolve_options(get("cca"), "", {option: value})


def test_a_model_like_every_other(tmp_path):
    pairs = data.load("synthetic", pairs=200, image_width=12, text_width=10)
    run = fasthash.train("cca", pairs, bits=8, seed=1, out=tmp_path, progress=False, ridge=0.1)
    again = fasthash.train("cca", pairs, bits=8, seed=2, progress=False, ridge=0.1)
    loaded = fasthash.HashModel.load(tmp_path)
    for model in (again.model, loaded):
        assert np.array_equal(model.encode_image(pairs.image), run.model.encode_image(pairs.image))
        assert np.array_equal(model.encode_text(pairs.text), run.model.encode_text(pairs.text))
    assert loaded.image.weights.dtype == torch.float64
