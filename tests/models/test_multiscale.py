"""Multi-scale text features against their definition in plain loops, and towers that carry them."""

import numpy as np
import pytest
import torch

from fasthash.models import Tower, TowerConfig
from fasthash.models.multiscale import MultiScale
from fasthash.models.tower import ChannelNorm


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
