import pytest
import torch

from fasthash import losses
from fasthash.ops import cosine_reconstruction, margin_euclidean, pairwise_nll


def codes(n, m, d):
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, d, generator=g), torch.randn(m, d, generator=g)


def test_pairwise_nll_takes_layers_and_weights():
    a, b = codes(5, 7, 12)
    ids = torch.arange(10).view(5, 2) % 3, torch.arange(14).view(7, 2) % 3
    weights = {"pair_weights": torch.rand(5, 7), "row_weights_a": torch.rand(5), "row_weights_b": torch.rand(7)}
    loss = losses.PairwiseNLL(layer_weights=(0.2, 0.8), layer_bits=(4, 8))
    want = pairwise_nll(a, b, *ids, layer_weights=(0.2, 0.8), layer_bits=(4, 8), **weights)
    assert torch.equal(loss(a, b, *ids, **weights), want)
    assert repr(loss) == "PairwiseNLL(scale=0.5, reduction='sum', layer_weights=[0.2, 0.8], layer_bits=[4, 8])"
    with pytest.raises(ValueError, match=r"^PairwiseNLL: layer_bits must be 2 widths >= 1 like layer_weights, got"):
        losses.PairwiseNLL(layer_weights=(0.2, 0.8), layer_bits=(4,))
    with pytest.raises(ValueError, match=r"^PairwiseNLL: layer_bits goes with layer_weights, got layer_bits alone"):
        losses.PairwiseNLL(layer_bits=(4,))


def test_cosine_reconstruction_is_the_operation():
    a, b = codes(5, 7, 8)
    target = torch.rand(5, 7)
    assert torch.equal(losses.CosineReconstruction()(a, b, target), cosine_reconstruction(a, b, target))
    loss = losses.CosineReconstruction(reduction="sum")
    assert torch.equal(loss(a, b, target), cosine_reconstruction(a, b, target, reduction="sum"))
    assert repr(loss) == "CosineReconstruction(reduction='sum')"
    with pytest.raises(ValueError, match=r"^CosineReconstruction: reduction must be one of sum, mean, got 'max'"):
        losses.CosineReconstruction(reduction="max")


def test_margin_euclidean_is_the_operation():
    a, b = codes(5, 7, 8)
    ids = torch.arange(5) % 3, torch.arange(7) % 3
    loss = losses.MarginEuclidean(4)
    assert torch.equal(loss(a, b, *ids), margin_euclidean(a, b, *ids, margin=4.0))
    sim = torch.rand(5, 7)
    total = losses.MarginEuclidean(4.0, reduction="sum")
    assert torch.equal(total(a, b, sim=sim), margin_euclidean(a, b, sim=sim, margin=4.0, reduction="sum"))
    assert repr(loss) == "MarginEuclidean(margin=4.0, reduction='mean')"
    with pytest.raises(ValueError, match=r"^MarginEuclidean: margin must be > 0, got -1"):
        losses.MarginEuclidean(-1)
    with pytest.raises(ValueError, match=r"^MarginEuclidean: reduction must be one of sum, mean, got 'max'"):
        losses.MarginEuclidean(4, reduction="max")
