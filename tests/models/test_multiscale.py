"""Multi-scale text features against their definition in plain loops, and towers that carry them."""

import copy

import numpy as np
import pytest
import torch

from fasthash.models import SparseBatch, Tower, TowerConfig
from fasthash.models.channel_norm import ChannelNorm
from fasthash.models.multiscale import MultiScale, MultiScaleWords


def interpolated(values, width):
    """Linear interpolation at cell centres, flat outside the outermost ones."""
    at = (np.arange(width) + 0.5) * len(values) / width - 0.5
    return np.interp(at, np.arange(len(values)), values)


def test_copies_are_scaled_averages_interpolated_back():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 11))
    net = MultiScale(11, (4, 3, 1)).double()
    with torch.no_grad():
        net.scale.copy_(torch.tensor([0.5, -2.0, 1.5]))
        got = net(torch.from_numpy(x)).numpy()
    want = np.empty((3, 44))
    for i, row in enumerate(x):
        parts = [row]
        for window, scale in ((4, 0.5), (3, -2.0), (1, 1.5)):
            means = [row[k * window : (k + 1) * window].mean() for k in range(11 // window)]
            parts.append(interpolated(np.maximum(0, scale * np.array(means)), 11))
        want[i] = np.concatenate(parts)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_a_window_must_fit():
    with pytest.raises(ValueError, match="MultiScale: windows must be from 1 to the width 4, got 5"):
        MultiScale(4, (2, 5))


def test_channel_norm_is_the_formula():
    x = np.random.default_rng(1).standard_normal((2, 9)) * 50
    want = np.empty_like(x)
    for i in range(2):
        for c in range(9):
            near = x[i, max(0, c - 2) : c + 3]
            want[i, c] = x[i, c] / (2 + 1e-4 * (near**2).sum()) ** 0.75
    got = ChannelNorm()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("width", [1, 2, 3, 12])
def test_gradient_of_channel_norm(width):
    x = (torch.randn(3, width, dtype=torch.float64) * 100).requires_grad_()
    assert torch.autograd.gradcheck(ChannelNorm(), x, eps=1e-3)


def test_a_tower_with_scales_and_norms_is_rebuilt_from_its_config():
    config = TowerConfig(6, (5, 4), 8, scales=(2, 3), channel_norm="first and last", init_std=0.1)
    tower = Tower(config)
    other = Tower(TowerConfig.from_dict(config.to_dict()))
    other.load_state_dict(tower.state_dict())
    x = torch.randn(3, 6)
    assert torch.equal(tower(x), other(x))
    tower(x).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in tower.parameters())
    assert sum(isinstance(module, ChannelNorm) for module in tower.modules()) == 2


@pytest.fixture
def bags():
    """Few words a row, of 300: more weights than are made at a time; one row is empty."""
    g = torch.Generator().manual_seed(3)
    x = torch.rand(9, 300, generator=g, dtype=torch.float64)
    x[torch.rand(9, 300, generator=g) > 0.03] = 0
    x[4] = 0
    return x


def twins(bags, **config):
    """The same tower twice: one on dense rows, one on entries."""
    torch.manual_seed(1)
    dense = Tower(TowerConfig(300, (7,), 4, scales=(50, 7, 1), init_std=0.3, **config)).double()
    dense.fit_mean(bags.mean(dim=0))
    with torch.no_grad():
        dense.scales.scale.copy_(torch.tensor([1.5, -0.7, 0.9]))
    sparse = copy.deepcopy(dense)
    assert sparse.take_entries()
    assert isinstance(sparse.layers[0], MultiScaleWords)
    return dense, sparse


@pytest.mark.parametrize("config", [{}, {"normalize": True}, {"centre": False}, {"channel_norm": "first"}])
def test_entries_give_the_outputs_and_gradients_of_dense_rows(bags, config):
    dense, sparse = twins(bags, **config)
    weights = torch.linspace(-1, 1, 4, dtype=torch.float64)
    for parts in (1, 2, 3):  # over several backward passes gradients add up; and the memory is used again
        for tower in (dense, sparse):
            tower.zero_grad()
        for x in bags.split(3)[:parts]:
            outputs = dense(x), sparse(SparseBatch.from_dense(x))
            torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-10, atol=1e-10)
            for h in outputs:
                (h.sin() * weights).sum().backward()
        first, want = sparse.layers[0], dense.layers[0].weight.grad
        got = torch.cat([first.words.rows.grad, first.stretched.grad]).T
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(first.words.bias.grad, dense.layers[0].bias.grad)
        torch.testing.assert_close(sparse.scales.scale.grad, dense.scales.scale.grad, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(sparse.layers[-1].weight.grad, dense.layers[-1].weight.grad)


def test_steps_on_entries_are_those_on_dense_rows(bags):
    dense, sparse = twins(bags, normalize=True)
    for tower, rows in ((dense, bags), (sparse, SparseBatch.from_dense(bags))):
        optimizer = torch.optim.AdamW(tower.parameters(), lr=0.01)
        for _ in range(5):
            optimizer.zero_grad()
            tower(rows).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(sparse.state_dict(), dense.state_dict(), rtol=1e-6, atol=1e-7)


def test_state_is_that_of_the_dense_tower(bags):
    dense, sparse = twins(bags)
    assert list(sparse.state_dict()) == list(dense.state_dict())
    torch.testing.assert_close(sparse.state_dict(), dense.state_dict(), rtol=0, atol=0)
    other = twins(bags)[1]
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    other.load_state_dict(dense.state_dict())
    torch.testing.assert_close(other.eval()(bags), dense(bags))
    assert "layers.0.weight" in dense.state_dict()  # of the caller, as it was
    sparse(SparseBatch.from_dense(bags)).sum().backward()
    twin = copy.deepcopy(sparse)
    torch.testing.assert_close(twin(bags), dense(bags))  # dense rows through the layer of entries
    sparse.take_dense()
    assert torch.equal(sparse(bags), dense(bags))
