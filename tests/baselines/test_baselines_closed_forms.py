"""Ridge regression of labels against an independent solver; what it refuses."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from fasthash.baselines import RidgeLabels


@pytest.fixture
def views():
    """Two views of a latent vector: image [80, 7], text [80, 5]."""
    rng = np.random.default_rng(3)
    latent = rng.standard_normal((80, 4))
    image = latent @ rng.standard_normal((4, 7)) + 0.7 * rng.standard_normal((80, 7)) + 2.0
    text = latent @ rng.standard_normal((4, 5)) + 0.7 * rng.standard_normal((80, 5)) - 1.0
    return image, text


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
        (lambda x, y: RidgeLabels(-1), "ridge: ridge must be a finite number above 0, got -1"),
        (lambda x, y: RidgeLabels("much"), "ridge: ridge must be a finite number above 0, got 'much'"),
        (
            lambda x, y: RidgeLabels().fit(x[0], y),
            r"ridge: features must be \[n, width\] .*, got shape \(7,\)",
        ),
        (lambda x, y: RidgeLabels().fit(x * np.nan, y), "ridge: features must be finite, row 0 is not"),
        (lambda x, y: RidgeLabels().fit(x, y)(y), r"ridge: features must be \[n, 7\]"),
        (lambda x, y: RidgeLabels().fit(x, y[:-1]), "ridge: labels must have 80 rows like features, got 79"),
    ],
)
def test_bad_input_is_one_line(views, call, message):
    with pytest.raises(ValueError, match=message):
        call(*views)
