"""CVH against SciPy's joint generalised eigenproblem, at lengths beyond the canonical directions too."""

import numpy as np
import pytest
import scipy.linalg
from cca_truth import covariances
from shallow_cases import fit, make_views, projections, weights

RIDGE = 0.1


def joint_problem(image, text):
    c_xx, c_yy, c_xy = covariances(image, text, RIDGE)
    p, q = c_xy.shape
    left = np.block([[np.zeros((p, p)), c_xy], [c_xy.T, np.zeros((q, q))]])
    return left, scipy.linalg.block_diag(c_xx, c_yy)


@pytest.mark.parametrize("widths", [(7, 5), (5, 7), (6, 6)], ids=str)
def test_bits_are_eigenvectors_of_the_joint_problem(widths):
    image, text = make_views(80, *widths)
    left, right = joint_problem(image, text)
    bits = max(widths) + min(widths)
    found = np.vstack(weights(fit("cvh", image, text, bits, ridge=RIDGE)))
    values = np.diag(found.T @ left @ found) / np.diag(found.T @ right @ found)
    np.testing.assert_allclose(left @ found, right @ found * values, atol=1e-9)
    wanted = scipy.linalg.eigh(left, right, eigvals_only=True)[::-1]
    np.testing.assert_allclose(values, wanted, atol=1e-9)  # by falling eigenvalue, all of them
    if widths[0] != widths[1]:
        np.testing.assert_allclose(found.T @ right @ found / 2, np.diag([1.0] * 5 + [0.5] * 2 + [1.0] * 5), atol=1e-9)


def test_the_first_bits_are_canonical_directions():
    image, text = make_views()
    cvh, cca = (weights(fit(name, image, text, 5, ridge=RIDGE)) for name in ("cvh", "cca"))
    for ours, theirs in zip(cvh, cca, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_bits_without_a_counterpart_are_of_most_variance_and_constant_on_the_other_side():
    image, text = make_views()
    solution = fit("cvh", image, text, 7, ridge=RIDGE)
    h, g = projections(solution, image, text)
    assert (g[:, 5:] == 0).all()
    variances = h[:, 5:].var(axis=0)
    assert variances[0] >= variances[1] > 0
    np.testing.assert_allclose(h[:, :5].T @ g[:, 5:], 0)


def test_directions_of_less_variance_come_later():
    """Beside 3 canonical directions, 17 of 20 image features of falling variance are left."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((400, 20)) * np.linspace(3, 0.2, 20)
    text = rng.standard_normal((400, 3))
    h, _ = projections(fit("cvh", image, text, 20, ridge=RIDGE), image, text)
    variances = h[:, 3:].var(axis=0)
    assert (np.diff(variances) <= 1e-12).all()
    assert variances[-1] < 0.5 * variances[0]


def test_few_pairs_have_few_directions():
    image, text = make_views(6, 20, 15)
    solution = fit("cvh", image, text, 10)
    assert np.isfinite(np.vstack(weights(solution))).all()
    with pytest.raises(ValueError, match="^cvh: bits must be at most 11, the directions of 6 pairs, got 12$"):
        fit("cvh", image, text, 12)


def test_more_bits_than_features_are_refused():
    with pytest.raises(ValueError, match="^cvh: bits must be at most 12, the features of both .* together, got 13$"):
        fit("cvh", *make_views(), 13)
