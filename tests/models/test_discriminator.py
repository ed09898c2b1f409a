"""The game: whose gradient goes where, and both losses written out."""

import numpy as np
import pytest
import torch

from fasthash.models.discriminator import Discriminator


@pytest.fixture
def judge():
    torch.manual_seed(0)
    return Discriminator(5, (4, 3), init_std=0.7).double()


def logits(judge, x):
    for layer in judge.layers:
        x = np.maximum(x, 0) if isinstance(layer, torch.nn.ReLU) else x @ layer.weight.T.numpy() + layer.bias.numpy()
    return x[:, 0]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_losses_are_the_formulas(judge):
    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal((6, 5)), rng.standard_normal((6, 5))
    with torch.no_grad():
        own = float(judge.loss(torch.from_numpy(real), torch.from_numpy(fake)))
        encoder = float(judge.encoder_loss(torch.from_numpy(fake)))
        d_real, d_fake = sigmoid(logits(judge, real)), sigmoid(logits(judge, fake))
    assert own == pytest.approx(-0.5 * (np.log(d_real).mean() + np.log(1 - d_fake).mean()), rel=1e-12)
    assert encoder == pytest.approx(-np.log(d_fake).mean(), rel=1e-12)


def test_its_loss_moves_it_alone(judge):
    real, fake = (torch.randn(4, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    judge.loss(real, fake).backward()
    assert real.grad is None
    assert fake.grad is None
    assert all(p.grad.abs().sum() > 0 for p in judge.parameters())


def test_the_encoders_loss_moves_the_features_alone(judge):
    fake = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    judge.encoder_loss(fake).backward()
    assert fake.grad.abs().sum() > 0
    assert all(p.grad is None and p.requires_grad for p in judge.parameters())


def test_a_single_row(judge):
    row = torch.randn(1, 5, dtype=torch.float64)
    assert judge(row).shape == (1,)
    assert judge.loss(row, row).shape == ()
