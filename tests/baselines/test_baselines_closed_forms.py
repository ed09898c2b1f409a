"""Canonical correlations and ridge regression against independent solvers; what they refuse."""

import numpy as np
import pytest
import scipy.linalg
from sklearn.cross_decomposition import CCA as IterativeCCA
from sklearn.linear_model import Ridge

from fasthash.baselines import CCA, RidgeLabels
from fasthash.codes import unpack


@pytest.fixture
def views():
    """Two views of a latent vector: image [80, 7], text [80, 5]."""
    rng = np.random.default_rng(3)
    latent = rng.standard_normal((80, 4))
    image = latent @ rng.standard_normal((4, 7)) + 0.7 * rng.standard_normal((80, 7)) + 2.0
    text = latent @ rng.standard_normal((4, 5)) + 0.7 * rng.standard_normal((80, 5)) - 1.0
    return image, text


def covariances(image, text, ridge):
    x, y = image - image.mean(0), text - text.mean(0)
    c_xx, c_yy, c_xy = x.T @ x / len(x), y.T @ y / len(y), x.T @ y / len(x)
    c_xx += ridge * np.trace(c_xx) / len(c_xx) * np.eye(len(c_xx))
    c_yy += ridge * np.trace(c_yy) / len(c_yy) * np.eye(len(c_yy))
    return c_xx, c_yy, c_xy


@pytest.mark.parametrize("ridge", [1e-6, 0.3, 5.0])
def test_directions_solve_the_generalised_eigenproblem(views, ridge):
    image, text = views
    fitted = CCA(ridge).fit(image, text, 5)
    c_xx, c_yy, c_xy = covariances(image, text, ridge)
    squares = scipy.linalg.eigh(c_xy @ np.linalg.inv(c_yy) @ c_xy.T, c_xx, eigvals_only=True)[::-1][:5]
    np.testing.assert_allclose(fitted.correlations**2, squares, rtol=1e-8, atol=1e-12)
    w_x, w_y = fitted.image_weights, fitted.text_weights
    np.testing.assert_allclose(w_x.T @ c_xx @ w_x, np.eye(5), atol=1e-9)
    np.testing.assert_allclose(w_y.T @ c_yy @ w_y, np.eye(5), atol=1e-9)
    np.testing.assert_allclose(w_x.T @ c_xy @ w_y, np.diag(fitted.correlations), atol=1e-9)


def test_correlations_are_those_of_scikit_learn(views):
    image, text = views
    fitted = CCA(1e-9).fit(image, text, 3)
    scores = IterativeCCA(n_components=3, max_iter=5000, tol=1e-12).fit_transform(image, text)
    wanted = [abs(np.corrcoef(a, b)[0, 1]) for a, b in zip(*(s.T for s in scores), strict=True)]
    np.testing.assert_allclose(fitted.correlations, wanted, atol=1e-5)


def test_codes_are_signs_of_centred_projections(views):
    image, text = views
    fitted = CCA().fit(image[:60], text[:60], 4)
    wanted = np.where((image - image[:60].mean(0)) @ fitted.image_weights >= 0, 1, -1)
    assert np.array_equal(unpack(fitted.encode_image(image), 4), wanted)
    assert fitted.encode_text(text).shape == (80, 1)
    assert fitted.bits == 4


def test_signs_of_the_directions_are_decided(views):
    image, text = views
    fitted = CCA().fit(image, text, 5)
    largest = np.abs(fitted.image_weights).argmax(axis=0)
    assert (fitted.image_weights[largest, np.arange(5)] > 0).all()
    again = CCA().fit(image[::-1], text[::-1], 5)  # the same rows in another order
    np.testing.assert_allclose(again.image_weights, fitted.image_weights, atol=1e-8)


def test_more_features_than_rows():
    rng = np.random.default_rng(0)
    image, text = rng.standard_normal((20, 50)), rng.standard_normal((20, 40))
    fitted = CCA().fit(image, text, 8)
    assert np.isfinite(fitted.image_weights).all()
    assert (fitted.correlations <= 1).all()


def test_a_constant_feature_is_no_error(views):
    image, text = views
    image = np.hstack([image, np.ones((80, 1))])
    assert np.isfinite(CCA(0.1).fit(image, text, 3).image_weights).all()


@pytest.mark.parametrize("ridge", [0.01, 1.0])
def test_ridge_is_scikit_learns(views, ridge):
    image, _ = views
    labels = (np.random.default_rng(0).random((80, 6)) < 0.3).astype(np.uint8)
    fitted = RidgeLabels(ridge).fit(image, labels)
    alpha = ridge * len(image) * np.mean(image.var(axis=0))
    wanted = Ridge(alpha=alpha, solver="cholesky").fit(image, labels.astype(float)).predict(image)
    np.testing.assert_allclose(fitted(image), wanted, atol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: CCA(0), "cca: ridge must be a finite number above 0, got 0"),
        (lambda x, y: CCA("much"), "cca: ridge must be a finite number above 0, got 'much'"),
        (lambda x, y: CCA().fit(x, y, 6), "cca: bits must be at most 5, .*got 6"),
        (lambda x, y: CCA().fit(x, y[:-1], 3), "cca: text must have 80 rows like image, got 79"),
        (lambda x, y: CCA().fit(x[0], y, 3), r"cca: image must be \[n, width\] with n >= 1, got shape \(7,\)"),
        (lambda x, y: CCA().fit(x * np.nan, y, 3), "cca: image must be finite, row 0 is not"),
        (lambda x, y: CCA().fit(x, y, 3).encode_image(y), r"cca: image must be \[n, 7\]"),
        (lambda x, y: RidgeLabels(-1), "ridge: ridge must be a finite number above 0, got -1"),
        (lambda x, y: RidgeLabels().fit(x, y[:-1]), "ridge: labels must have 80 rows like features, got 79"),
    ],
)
def test_bad_input_is_one_line(views, call, message):
    with pytest.raises(ValueError, match=message):
        call(*views)
