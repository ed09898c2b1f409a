"""The graph of nearest neighbours against the dense matrix it stands for."""

import numpy as np
import pytest
import torch

from fasthash.models import neighbour_graph
from fasthash.models.neighbour_graph import NeighbourGraph


def dense(s, k):
    """P of the formula: the k largest others of a row, divided by their sum."""
    out = np.zeros_like(s)
    for i, row in enumerate(s):
        others = sorted((j for j in range(len(s)) if j != i), key=lambda j: -row[j])[:k]
        for j in others:
            out[i, j] = max(row[j], 0)
        out[i] /= out[i].sum() or 1
    return out


def build(s, k):
    given = torch.from_numpy(s)
    return NeighbourGraph.build(lambda rows, columns: given[rows][:, columns], len(s), k)


def similarities(n, signed=False):
    x = np.random.default_rng(n).standard_normal((n, 5))
    s = x @ x.T
    return s if signed else np.abs(s)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("k", [1, 4, 11])
def test_equals_the_dense_matrix(k, signed, monkeypatch):
    monkeypatch.setattr(neighbour_graph, "ROWS", 5)
    monkeypatch.setattr(neighbour_graph, "COLUMNS", 3)  # fewer than k: the best are put together
    s = similarities(12, signed)
    graph, want = build(s, k), dense(s, k)
    got = np.zeros((12, 12))
    np.put_along_axis(got, graph.columns.numpy().astype(int), graph.values.numpy(), axis=1)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    assert graph.columns.shape == (12, k)
    assert (graph.columns != torch.arange(12)[:, None]).all()


@pytest.mark.parametrize("index", [[0, 3, 7], [11], list(range(12))])
def test_second_order_is_the_product(index):
    s = similarities(12)
    want = dense(s, 4)
    got = build(s, 4).second_order(torch.tensor(index))
    np.testing.assert_allclose(got, (want @ want.T)[np.ix_(index, index)], rtol=1e-5, atol=1e-7)


def test_many_nodes_take_the_memory_of_their_neighbours(monkeypatch):
    """Fewer columns than nodes: as many as the batch has different neighbours."""
    s = similarities(40)
    graph, want, made = build(s, 3), dense(s, 3), []
    zeros = torch.Tensor.new_zeros
    monkeypatch.setattr(torch.Tensor, "new_zeros", lambda x, *shape: made.append(shape) or zeros(x, *shape))
    got = graph.second_order(torch.tensor([5, 9, 21]))
    np.testing.assert_allclose(got, (want @ want.T)[np.ix_([5, 9, 21], [5, 9, 21])], rtol=1e-5, atol=1e-7)
    assert made[0][1] <= 9


def test_a_node_without_neighbours_has_no_probabilities():
    graph = build(-np.ones((4, 4)), 2)
    assert torch.equal(graph.values, torch.zeros(4, 2))
    assert torch.equal(graph.second_order(torch.arange(4)), torch.zeros(4, 4))


def test_bad_input():
    with pytest.raises(ValueError, match="^NeighbourGraph: n must be 2 or more, got 1$"):
        build(np.ones((1, 1)), 1)
    with pytest.raises(ValueError, match="^NeighbourGraph: k must be from 1 to 3, got 4$"):
        build(np.ones((4, 4)), 4)
