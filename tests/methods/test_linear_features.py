"""The features that linear methods see: maps, scales and the span of few rows, and the way back to encoders."""

import numpy as np
import pytest
import torch
from shallow_cases import make_views

from fasthash.methods import Pairs
from fasthash.methods.shallow._linear_features import LinearOptions, linear_features
from fasthash.methods.shallow._ridge import Ridge, solve_ridge

CASES = [
    {},
    {"scale": "rows"},
    {"scale": "variance"},
    {"anchors": 6},
    {"anchors": 6, "scale": "rows"},
    {"anchors": 6, "scale": "variance"},
]


@pytest.mark.parametrize("n", [40, 5], ids=["more rows", "more features"])
@pytest.mark.parametrize("options", CASES, ids=str)
def test_encoders_project_the_training_rows_as_the_solution_does(n, options):
    image, text = make_views(n, 7, 9)
    pairs = Pairs.of(image, text)
    for features, given in zip(linear_features(pairs, LinearOptions(**options)), (image, text), strict=True):
        assert features.rows.shape == (n, min(n, features.width))
        np.testing.assert_allclose(features.rows.mean(axis=0), 0, atol=1e-12)
        solution = np.random.default_rng(1).standard_normal((features.rows.shape[1], 3))
        weights = features.weights(solution)
        assert weights.shape == (features.width, 3)
        wanted = features.rows @ solution
        np.testing.assert_allclose(features.view(weights)(torch.from_numpy(given)).numpy(), wanted, atol=1e-9)
        np.testing.assert_allclose(features.project(weights), wanted, atol=1e-9)


def test_maps_are_those_of_the_options():
    image, text = make_views(30)
    centred = image - image.mean(0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    rows, _ = linear_features(Pairs.of(image, text), LinearOptions(scale="rows"))
    np.testing.assert_allclose(rows.rows, unit - unit.mean(0), atol=1e-12)
    scaled, _ = linear_features(Pairs.of(image, text), LinearOptions(scale="variance"))
    np.testing.assert_allclose(scaled.rows, centred / centred.std(0), atol=1e-12)
    anchored, _ = linear_features(Pairs.of(image, text), LinearOptions(scale="rows", anchors=4))
    distances = np.linalg.norm(unit[:, None] - unit[[0, 10, 19, 29]], axis=2)
    made = np.exp(-(distances**2) / (2 * distances.mean() ** 2))
    np.testing.assert_allclose(anchored.rows, made - made.mean(0), atol=1e-9)


def test_a_constant_feature_stays_constant_at_unit_variance():
    image, text = make_views(30)
    image[:, 2] = 0.1  # its mean is not exactly 0.1
    features, _ = linear_features(Pairs.of(image, text), LinearOptions(scale="variance"))
    assert np.abs(features.rows[:, 2]).max() < 1e-12
    np.testing.assert_allclose(np.delete(features.rows, 2, axis=1).std(axis=0), 1)


def test_more_anchors_than_rows_are_all_rows():
    features, _ = linear_features(Pairs.of(*make_views(8)), LinearOptions(anchors=50))
    assert features.width == 8


@pytest.mark.parametrize("p", [6, 40], ids=["primal", "dual"])
def test_ridge_solutions(p):
    image, text = make_views(20, p, 5)
    features, _ = linear_features(Pairs.of(image, text), LinearOptions())
    targets = np.random.default_rng(0).standard_normal((20, 3))
    got = features.weights(Ridge(features.rows, 0.2).solve(features.rows.T @ targets))
    x = image - image.mean(0)
    np.testing.assert_allclose(got, np.linalg.inv(x.T @ x + 0.2 * np.eye(p)) @ x.T @ targets, atol=1e-9)
    dual = x.T @ np.linalg.inv(x @ x.T + 0.2 * np.eye(20)) @ targets
    np.testing.assert_allclose(got, dual, atol=1e-9)


def test_small_ridge_systems():
    gram = np.diag([2.0, 0.0])
    np.testing.assert_allclose(solve_ridge(gram, 0.5, np.array([[5.0], [1.0]])), [[2.0], [2.0]])
