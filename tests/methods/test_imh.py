"""IMH against the paper's dense eigenproblem, graphs against brute force, thresholds from the training rows alone."""

import numpy as np
import pytest
import torch
from scipy import sparse
from shallow_cases import fit, make_classes, make_views, projections, weights

import fasthash
from fasthash import data
from fasthash.methods import get, resolve_options
from fasthash.methods.shallow._graph_embedding import Smoothness, laplacian, neighbour_graph
from fasthash.methods.shallow.imh import ridge_factor


def brute_graph(rows, k):
    squares = np.square(rows[:, None] - rows[None]).sum(axis=2)
    np.fill_diagonal(squares, np.inf)
    graph = np.zeros_like(squares)
    np.put_along_axis(graph, np.argsort(squares, axis=1)[:, :k], 1.0, axis=1)
    return np.maximum(graph, graph.T)


def paper(views, k, lam, beta, agreement=1e10):
    """C and E of the paper's problem, n x n, and the maps (X'X + beta I)^-1 X'."""
    n = len(views[0])
    eye = np.eye(n)
    centred = [rows - rows.mean(0) for rows in views]
    maps = [np.linalg.solve(x.T @ x + beta * np.eye(x.shape[1]), x.T) for x in centred]
    fits = [eye - x @ m for x, m in zip(centred, maps, strict=True)]
    graphs = [brute_graph(x, k) for x in centred]
    smooth = [np.diag(w.sum(axis=1)) - w for w in graphs]
    e = np.linalg.solve(fits[1] + lam * smooth[1] + agreement * eye, agreement * eye)
    c = fits[0] + e.T @ fits[1] @ e + agreement * (eye - e).T @ (eye - e) + lam * smooth[0] + lam * e.T @ smooth[1] @ e
    return (c + c.T) / 2, e, maps


@pytest.mark.parametrize("lam", [1.0, 0.1])
@pytest.mark.parametrize("widths", [(9, 6), (9, 80), (150, 140)], ids=str)
def test_codes_are_the_papers_eigenvectors(widths, lam):
    """At M = 1e10; the constant vector, which is among them, is left out."""
    views, bits = make_views(70, *widths), 5
    solution = fit("imh", *views, bits, lam=lam, beta=0.7, tolerance=1e-9)
    c, e, maps = paper(views, 5, lam, 0.7)
    values, vectors = np.linalg.eigh(c)
    level = np.abs(vectors.sum(axis=0)) / np.sqrt(70)
    assert level.max() == pytest.approx(1, abs=1e-4), "the constant vector is an eigenvector"
    kept = np.delete(vectors, level.argmax(), axis=1)[:, :bits]
    assert (np.diff(values[: bits + 2]) > 1e-3).all(), "else the vectors are not determined"
    kept *= np.where(kept[np.abs(kept).argmax(axis=0), range(bits)] < 0, -1, 1)
    np.testing.assert_allclose(solution.learned, kept - np.median(kept, axis=0), atol=2e-5)
    for w, m, f in zip(weights(solution), maps, (kept, e @ kept), strict=True):
        np.testing.assert_allclose(w, m @ f, atol=2e-4 * np.abs(w).max())


@pytest.mark.parametrize("n", [20, 300])
def test_smallest_eigenvectors_by_either_way(n):
    """Few rows: all of M; many: LOBPCG."""
    rng = np.random.default_rng(0)
    rows, factor = rng.standard_normal((n, 4)), rng.standard_normal((n, 3)) / n
    factor -= factor.mean(axis=0)
    graph = laplacian(neighbour_graph(rows, 6))
    smooth = Smoothness(2.0, graph, factor)
    found = smooth.smallest(4, 1e-9, 500, rng)
    whole = 2 * np.eye(n) + graph.toarray() - factor @ factor.T
    np.testing.assert_allclose(smooth(np.eye(n)), whole, atol=1e-12)
    np.testing.assert_allclose(smooth.diagonal(), whole.diagonal(), atol=1e-12)
    values = np.einsum("ij,ij->j", found, whole @ found)
    np.testing.assert_allclose(whole @ found, found * values, atol=1e-6)
    np.testing.assert_allclose(found.T @ found, np.eye(4), atol=1e-8)
    np.testing.assert_allclose(found.sum(axis=0), 0, atol=1e-8)
    inside = np.eye(n) - 1 / n
    np.testing.assert_allclose(values, np.linalg.eigvalsh(inside @ whole @ inside + 100 / n)[:4], atol=1e-7)


def test_eigenvectors_that_are_not_found_in_time_are_told():
    rng = np.random.default_rng(0)
    smooth = Smoothness(2.0, laplacian(neighbour_graph(rng.standard_normal((300, 4)), 5)), np.zeros((300, 1)))
    with pytest.warns(RuntimeWarning, match="residuals up to .* was asked for: more iterations"):
        smooth.smallest(4, 1e-10, 2, rng)


@pytest.mark.parametrize("k", [1, 4, 59, 90])
def test_neighbours_are_those_of_brute_force(k):
    rows = make_views(60)[0]
    found = neighbour_graph(rows, k)
    assert sparse.issparse(found)
    np.testing.assert_array_equal(found.toarray(), brute_graph(rows, min(k, 59)))
    lap = laplacian(found).toarray()
    np.testing.assert_allclose(lap.sum(axis=0), 0, atol=1e-12)
    assert np.linalg.eigvalsh(lap)[0] > -1e-10


def test_ridge_factor_is_the_fit():
    x = make_views()[0]
    factor, lower = ridge_factor(x, 0.5)
    np.testing.assert_allclose(factor @ factor.T, x @ np.linalg.solve(x.T @ x + 0.5 * np.eye(7), x.T), atol=1e-10)
    np.testing.assert_allclose(factor @ lower.T, x, atol=1e-10)


@pytest.mark.parametrize("options", [{}, {"anchors": 20}, {"scale": "rows"}, {"scale": "variance"}], ids=str)
def test_bits_are_cut_at_the_medians_of_the_training_rows(options):
    """Of them alone: cutting each set of items at its own medians would give every set as many ones as zeros."""
    image, text = make_views(81)
    solution = fit("imh", image, text, 6, **options)
    for h in projections(solution, image, text):
        assert ((h > 1e-12).sum(axis=0) == 40).all()
    few = solution.image(torch.from_numpy(image[:6] + 3.0))
    assert not ((few >= 0).sum(dim=0) == 3).all()
    assert ((solution.learned > 0).sum(axis=0) == 40).all()


def test_without_graphs_the_linear_fit_decides():
    image, text = make_views()
    solution = fit("imh", image, text, 3, lam=0.0, beta=1e-6, tolerance=1e-8)
    h, g = projections(solution, image, text)
    assert ((h > 0) == (g > 0)).mean() > 0.75, "directions that both views can tell: the most correlated ones"


def test_codes_find_classes():
    image, text, labels = make_classes(noise=0.5)
    solution = fit("imh", image, text, 8)
    same = labels @ labels.T > 0
    h, g = (np.where(x >= 0, 1, -1) for x in projections(solution, image, text))
    assert (h @ g.T)[same].mean() > (h @ g.T)[~same].mean() + 1, "of 8 bits; five seeds: 2 to 3.4; random codes: 0"


def test_it_trains_by_name():
    pairs = data.load("synthetic", pairs=120, image_width=12, text_width=10)
    run = fasthash.train("imh", pairs, bits=8, progress=False)
    rows = pairs.split.train
    direct = fit("imh", pairs.image[rows], pairs.text[rows], 8)
    made = direct.image(torch.from_numpy(pairs.image)).numpy()
    np.testing.assert_allclose(run.model.relax_image(pairs.image), made, atol=1e-10)


def test_bad_input():
    with pytest.raises(ValueError, match="imh: bits must be at most 7, one less than the training pairs, got 8"):
        fit("imh", *make_views(8), 8)
    with pytest.raises(ValueError, match="imh: option beta: "):
        resolve_options(get("imh"), "", {"beta": 0})
