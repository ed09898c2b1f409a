"""SCM against the n x n similarity written out, bit by bit; what follows when labels or features run out."""

import numpy as np
import pytest
from cca_truth import covariances
from shallow_cases import fit, make_classes, make_labels, make_views, pair_agreement, projections, weights

from fasthash.methods import Pairs
from fasthash.methods.shallow._correlated import Correlation, leading, top_of_product
from fasthash.methods.shallow._linear_features import LinearOptions, linear_features
from fasthash.methods.shallow.scm import Disagreement, label_factors

RIDGE = 0.05


def similarity(labels):
    unit = labels / np.linalg.norm(labels, axis=1, keepdims=True)
    return 2 * unit @ unit.T - 1


def correlation_of(image, text):
    return Correlation(*linear_features(Pairs.of(image, text), LinearOptions()), RIDGE)


def test_the_similarity_is_never_needed():
    image, text = make_views()
    labels = make_labels()
    correlation = correlation_of(image, text)
    unit = labels / np.linalg.norm(labels, axis=1, keepdims=True)
    a, b = label_factors(correlation, unit, 16)
    x, y = image - image.mean(0), text - text.mean(0)
    np.testing.assert_allclose(a @ b.T, correlation.into(16 * x.T @ similarity(labels) @ y), atol=1e-9)


def test_triples_of_a_product_are_those_of_the_matrix():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((30, 4)), rng.standard_normal((20, 4))
    left, values, _ = np.linalg.svd(a @ b.T)
    got = top_of_product(a, b, 6)
    assert [part.shape for part in got] == [(30, 4), (4,), (20, 4)], "no more than there are"
    np.testing.assert_allclose(got[1], values[:4])
    np.testing.assert_allclose(np.abs(np.sum(got[0] * left[:, :4], axis=0)), 1)
    np.testing.assert_allclose(got[0] * got[1] @ got[2].T, a @ b.T, atol=1e-12)


@pytest.mark.parametrize("small", [1e-2, 1e-5], ids=["of squares", "of the matrix"])
@pytest.mark.parametrize("shape", [(40, 60), (60, 40)], ids=str)
def test_few_of_many_singular_triples(shape, small):
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((n, 40)))[0] for n in shape)
    values = np.geomspace(1, small, 8)
    matrix = left[:, :8] * values @ right[:, :8].T
    got = leading(matrix, 8)
    np.testing.assert_allclose(got[1], values, rtol=1e-9)
    np.testing.assert_allclose(got[0] * got[1] @ got[2].T, matrix, atol=1e-12)
    np.testing.assert_allclose(got[2].T @ got[2], np.eye(8), atol=1e-9)


def test_orthogonal_bits_solve_the_label_problem():
    """Of w_x' X'SY w_y under w'Cw = 1, C_vv as in CCA: the generalised eigenproblem with S in the place of I."""
    image, text = make_views()
    labels = make_labels(classes=3)
    c_xx, c_yy, _ = covariances(image, text, RIDGE)
    x, y = image - image.mean(0), text - text.mean(0)
    cross = x.T @ similarity(labels) @ y
    w_x, w_y = weights(fit("scm_or", image, text, 5, labels, ridge=RIDGE))
    gains = np.diag(w_x.T @ cross @ w_y)
    np.testing.assert_allclose(cross @ np.linalg.solve(c_yy, cross.T @ w_x), c_xx @ w_x * gains**2, atol=1e-6)
    np.testing.assert_allclose(gains[3:], 0, atol=1e-9, err_msg="three classes give three directions")
    assert (gains[:3] > 1).all()
    for w, c in ((w_x, c_xx), (w_y, c_yy)):
        np.testing.assert_allclose(w.T @ c @ w, np.eye(5), atol=1e-9)


def test_orthogonal_bits_beyond_the_labels_are_the_most_correlated_that_are_left():
    image, text = make_views()
    solution = fit("scm_or", image, text, 7, make_labels(classes=3), ridge=RIDGE)
    h, g = projections(solution, image, text)
    c_xx, _, c_xy = covariances(image, text, RIDGE)
    w_x, w_y = weights(solution)
    correlations = np.diag(w_x.T @ c_xy @ w_y)
    assert correlations[3] >= correlations[4] > 0
    assert (g[:, 5:] == 0).all(), "the text has no direction left"
    np.testing.assert_allclose(w_x.T @ c_xx @ w_x, np.eye(7), atol=1e-9)
    assert (h[:, 5:].std(axis=0) > 0).all()


def sequence_by_hand(image, text, labels, bits):
    """Directions, and residuals' largest singular values, with every matrix written out."""
    c_xx, c_yy, _ = covariances(image, text, RIDGE)
    x, y = image - image.mean(0), text - text.mean(0)
    residual = bits * similarity(labels)
    lower_x, lower_y = np.linalg.cholesky(c_xx), np.linalg.cholesky(c_yy)
    directions, values, errors = [], [], []
    for _ in range(bits):
        left, value, right = np.linalg.svd(np.linalg.inv(lower_x) @ x.T @ residual @ y @ np.linalg.inv(lower_y).T)
        w_x, w_y = np.linalg.solve(lower_x.T, left[:, 0]), np.linalg.solve(lower_y.T, right[0])
        sign = np.sign(w_x[np.abs(w_x).argmax()])
        residual = residual - np.outer(np.where(x @ w_x >= 0, 1, -1), np.where(y @ w_y >= 0, 1, -1))
        directions.append((sign * w_x, sign * w_y))
        values.append(value[0])
        errors.append(float(np.square(residual / bits).mean()))
    return directions, values, errors


def test_sequential_bits_take_off_what_the_signs_explain():
    image, text, labels = make_classes(120)
    solution = fit("scm_se", image, text, 6, labels, ridge=RIDGE)
    directions, values, errors = sequence_by_hand(image, text, labels, 6)
    found = len(solution.objective)
    assert 3 <= found <= 6
    assert (np.diff(values[:found]) <= 0).all()
    w_x, w_y = weights(solution)
    for k in range(found):
        np.testing.assert_allclose(w_x[:, k], directions[k][0], atol=1e-7)
        np.testing.assert_allclose(w_y[:, k], directions[k][1], atol=1e-7)
    np.testing.assert_allclose(solution.objective, errors[:found], rtol=1e-9)


def test_the_sequence_ends_where_the_residual_rises():
    image, text = make_views(60)
    labels = make_labels(60)
    bits = 16
    solution = fit("scm_se", image, text, bits, labels, ridge=RIDGE, anchors=20)
    found = len(solution.objective)
    assert found < bits
    joint = weights(fit("cvh", image, text, bits - found, ridge=RIDGE, anchors=20))
    assert bits - found <= 20
    for ours, theirs in zip(weights(solution), joint, strict=True):
        np.testing.assert_allclose(ours[:, found:], theirs[:, ::-1], atol=1e-9, err_msg="CCA's, the last first")


def test_after_the_canonical_directions_come_the_others_of_the_joint_problem():
    image, text = make_views(80, 30, 4)
    solution = fit("scm_se", image, text, 28, make_labels(), ridge=RIDGE)
    found = len(solution.objective)
    assert 28 - found > 4
    joint = weights(fit("cvh", image, text, 28 - found, ridge=RIDGE))
    for ours, theirs in zip(weights(solution), joint, strict=True):
        np.testing.assert_allclose(ours[:, found : found + 4], theirs[:, 3::-1], atol=1e-9)
        np.testing.assert_allclose(ours[:, found + 4 :], theirs[:, 4:], atol=1e-9)


@pytest.mark.parametrize("nothing", ["one class", "constant texts"])
def test_a_residual_of_nothing_leaves_all_bits_to_the_joint_problem(nothing):
    image, text, labels = make_classes(60)
    if nothing == "one class":
        labels = np.ones((60, 1))
    else:
        text = np.ones_like(text)
    solution = fit("scm_se", image, text, 5, labels, ridge=RIDGE)
    assert solution.objective == ()
    joint = weights(fit("cvh", image, text, 5, ridge=RIDGE))
    for ours, theirs in zip(weights(solution), joint, strict=True):
        canonical_first = theirs[:, ::-1] if nothing == "one class" else theirs
        np.testing.assert_allclose(ours, canonical_first, atol=1e-9)


def test_disagreement_of_any_codes():
    rng = np.random.default_rng(1)
    labels = make_labels(12)
    unit = labels / np.linalg.norm(labels, axis=1, keepdims=True)
    h, g = (np.where(rng.random((12, 5)) < 0.5, -1.0, 1.0) for _ in range(2))
    error = Disagreement(unit, 5)
    for k in range(5):
        wanted = np.square(h[:, : k + 1] @ g[:, : k + 1].T / 5 - similarity(labels)).mean()
        assert error.after(h[:, k : k + 1], g[:, k : k + 1]) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("name", ["scm_or", "scm_se"])
@pytest.mark.parametrize("widths", [(60, 9), (60, 50)], ids=str)
def test_more_features_than_pairs(name, widths):
    """The span of the rows is enough: an orthonormal change of features changes no code."""
    image, text, labels = make_classes(40, *widths)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((60, 60)))[0]
    plain, turned = fit(name, image, text, 4, labels, ridge=0.3), fit(name, image @ turn, text, 4, labels, ridge=0.3)
    h, _ = projections(plain, image, text)
    k, _ = projections(turned, image @ turn, text)
    np.testing.assert_allclose(np.abs(k), np.abs(h), atol=1e-8)
    assert pair_agreement(plain, image, text) > 0.8


@pytest.mark.parametrize("name", ["scm_or", "scm_se"])
def test_more_bits_than_features_are_refused(name):
    with pytest.raises(ValueError, match=f"^{name}: bits must be at most 9, the width of the wider features, got 10$"):
        fit(name, *make_views(40, 9, 8), 10, make_labels(40))


def test_more_bits_than_pairs_are_refused():
    with pytest.raises(ValueError, match="^scm_or: bits must be at most 6, the directions of 6 pairs, got 8$"):
        fit("scm_or", *make_views(6, 9, 8), 8, make_labels(6))
