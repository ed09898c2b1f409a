"""A network that tells two kinds of features apart, and the two losses of the game against it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Discriminator(nn.Module):
    """Features [m, width] -> logits [m]: above 0 where they are taken for those of the label network.

    Its own loss moves it and not the features; the encoder's loss moves the features and not it.

    Args:
        width: of the features.
        hidden: widths of the hidden layers, each followed by ReLU.
        init_std: weights and biases from N(0, init_std^2); None: PyTorch's default.
    Source: Li et al., Self-Supervised Adversarial Hashing Networks for Cross-Modal Retrieval, CVPR 2018, section 3.5;
        its authors' code for the layers.
    """

    def __init__(self, width: int, hidden: Sequence[int] = (512, 256), *, init_std: float | None = None) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for units in hidden:
            layers += [nn.Linear(width, units), nn.ReLU()]
            width = units
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))
        if init_std is not None:
            for parameter in self.parameters():
                nn.init.normal_(parameter, std=init_std)

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features).flatten()

    def loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Mean cross-entropy [] of telling real from fake, both [m, width]; no gradient reaches the features."""
        logits = self(torch.cat([real.detach(), fake.detach()]))
        truth = torch.zeros_like(logits)
        truth[: len(real)] = 1
        return functional.binary_cross_entropy_with_logits(logits, truth)

    def encoder_loss(self, fake: Tensor) -> Tensor:
        """Mean of -log sigma(logit) [] of fake [m, width]: low where it is taken for real; no gradient reaches the
        discriminator."""
        constants = {name: value.detach() for name, value in self.named_parameters()}
        return functional.softplus(-torch.func.functional_call(self, constants, (fake,))).mean()
