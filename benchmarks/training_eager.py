"""The same steps in the form of the published code, written afresh in eager PyTorch, to compare with.

Theta, similarities and their losses as m x n matrices, similarities by a product of labels, the balance over copies of
all rows that are not in the batch, dense layers on dense rows, an optimiser for each modality as PyTorch makes it. The
published code adds, once an epoch, its objective over all n x n pairs: that is left out.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from training_steps import SEED, Data

LAYER_WEIGHTS = (0.2, 0.8)


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def similar(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T > 0).float()


def likelihood(a: Tensor, b: Tensor, sim: Tensor) -> Tensor:
    theta = 0.5 * a @ b.T
    return (F.softplus(theta) - sim * theta).sum()


class Eager(ABC):
    """A method's networks, banks and optimisers; `step` makes the steps that `Ours.step` makes."""

    phases: tuple[str, ...]

    def __init__(self, data: Data, bits: int, steps: int, batch: int) -> None:
        torch.manual_seed(SEED)
        s = data.sizes
        self.bits, self.sizes, self.n = bits, s, s.train
        self.image, self.text = (x[: s.train].clone() for x in (data.image, data.text))
        self.labels = [layer[: s.train].float() for layer in data.labels]
        self.mean = self.text.mean(dim=0), self.image.mean(dim=0)
        g = torch.Generator().manual_seed(SEED)
        self.rows = [torch.randperm(s.train, generator=g)[:batch] for _ in range(steps)]
        self.build()

    @abstractmethod
    def build(self) -> None:
        """Networks, banks, optimisers."""

    @abstractmethod
    def loss(self, phase: str, index: Tensor) -> Tensor:
        """Of one phase on some rows; writes the banks."""

    @abstractmethod
    def optimizers(self, phase: str) -> list[torch.optim.Optimizer]:
        """Those that a phase steps."""

    def step(self) -> None:
        torch.set_num_threads(1)
        for phase in self.phases:
            for index in self.rows:
                loss = self.loss(phase, index)
                for optimizer in self.optimizers(phase):
                    optimizer.zero_grad()
                loss.backward()
                self.clip(phase)
                for optimizer in self.optimizers(phase):
                    optimizer.step()
                loss.item()  # logged, and checked for NaN

    def clip(self, phase: str) -> None:
        """Gradients, where the published code clips them."""
        return

    def bank(self, width: int) -> Tensor:
        return torch.randn(self.n, width)

    def others(self, bank: Tensor, index: Tensor) -> Tensor:
        """A copy of all rows of a bank that are not in a batch."""
        rest = torch.ones(self.n, dtype=torch.bool)
        rest[index] = False
        return bank[rest]

    def inputs(self, side: str, index: Tensor) -> Tensor:
        return self.image[index] - self.mean[1] if side == "image" else self.text[index] - self.mean[0]


class EagerDCMH(Eager):
    phases = ("image", "text")
    hidden, decay, lr = 8192, 5e-4, 10**-1.5

    def build(self) -> None:
        s = self.sizes
        self.nets = {"image": nn.Linear(s.image, self.bits), "text": mlp(s.text, self.hidden, self.bits)}
        self.banks = {side: self.bank(self.bits) for side in self.phases}
        self.unified = torch.sign(self.banks["image"] + self.banks["text"])
        self.steppers = {side: self.sgd(side) for side in self.phases}

    def sgd(self, side: str) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.nets[side].parameters(), lr=self.lr, weight_decay=self.decay)

    def optimizers(self, phase: str) -> list[torch.optim.Optimizer]:
        return [self.steppers[phase]]

    def loss(self, phase: str, index: Tensor) -> Tensor:
        own, other = self.banks[phase], self.banks["text" if phase == "image" else "image"]
        h = self.codes(phase, index)
        own[index] = h.detach()
        total = self.pairs(h, other, index)
        total = total + (self.unified[index] - h).pow(2).sum()
        total = total + (h.sum(dim=0) + self.others(own, index).sum(dim=0)).pow(2).sum()
        return (total + self.more(phase, h, index)) / (self.n * len(index))

    def codes(self, side: str, index: Tensor) -> Tensor:
        made: Tensor = self.nets[side](self.inputs(side, index))
        return made

    def pairs(self, h: Tensor, other: Tensor, index: Tensor) -> Tensor:
        return likelihood(h, other, similar(self.labels[0][index], self.labels[0]))

    def more(self, side: str, h: Tensor, index: Tensor) -> Tensor | float:
        return 0.0


class EagerHiCHNet(EagerDCMH):
    decay, lr = 0.0, 0.1

    def sgd(self, side: str) -> torch.optim.Optimizer:
        if not hasattr(self, "classifiers"):
            half = self.bits // 2
            self.classifiers = {
                side: nn.ModuleList(nn.Linear(half, layer.shape[1]) for layer in self.labels) for side in self.phases
            }
        params = [*self.nets[side].parameters(), *self.classifiers[side].parameters()]
        return torch.optim.SGD(params, lr=self.lr)

    def codes(self, side: str, index: Tensor) -> Tensor:
        return torch.tanh(super().codes(side, index))

    def pairs(self, h: Tensor, other: Tensor, index: Tensor) -> Tensor:
        total = h.new_zeros(())
        parts = zip(LAYER_WEIGHTS, h.chunk(2, dim=1), other.chunk(2, dim=1), self.labels, strict=True)
        for weight, a, b, labels in parts:
            total = total + weight * likelihood(a, b, similar(labels[index], labels))
        return total

    def more(self, side: str, h: Tensor, index: Tensor) -> Tensor:
        total = h.new_zeros(())
        parts = zip(LAYER_WEIGHTS, self.classifiers[side], h.chunk(2, dim=1), self.labels, strict=True)
        for weight, net, part, labels in parts:
            total = total + weight * F.cross_entropy(net(part), labels[index].argmax(dim=1), reduction="sum")
        return total


class EagerDJSRH(Eager):
    phases = ("joint",)
    beta, eta, mu, lam, alpha = 0.9, 0.4, 1.5, 0.1, 1.0

    def build(self) -> None:
        s = self.sizes
        self.nets = [nn.Linear(s.image, self.bits), mlp(s.text, 4096, self.bits)]
        self.steppers: list[torch.optim.Optimizer] = [
            torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
            for net, lr in zip(self.nets, (0.001, 0.01), strict=True)
        ]

    def optimizers(self, phase: str) -> list[torch.optim.Optimizer]:
        return self.steppers

    def loss(self, phase: str, index: Tensor) -> Tensor:
        features = self.image[index], self.text[index]
        a, b = (F.normalize(torch.tanh(self.alpha * net(x))) for net, x in zip(self.nets, features, strict=True))
        s_image, s_text = (2 * (F.normalize(f) @ F.normalize(f).T) - 1 for f in features)
        fused = self.beta * s_image + (1 - self.beta) * s_text
        target = self.mu * ((1 - self.eta) * fused + self.eta * fused @ fused / len(index))
        own = F.mse_loss(a @ a.T, target) + F.mse_loss(b @ b.T, target)
        return F.mse_loss(a @ b.T, target) + self.lam * own


class EagerDCGH(Eager):
    phases = ("joint",)

    def build(self) -> None:
        s = self.sizes
        self.nets = [nn.Linear(s.image, self.bits), nn.Linear(s.text, self.bits)]
        self.proxies = nn.Parameter(torch.randn(s.classes[0], self.bits))
        self.params = [p for net in self.nets for p in net.parameters()]
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.params]
        self.sgd = torch.optim.SGD([self.proxies], lr=0.02, momentum=0.9, weight_decay=5e-4)

    def optimizers(self, phase: str) -> list[torch.optim.Optimizer]:
        return [self.sgd]

    def clip(self, phase: str) -> None:
        """BertAdam over the networks, parameter by parameter, with a clip of each."""
        with torch.no_grad():
            for p, (m, v) in zip(self.params, self.moments, strict=True):
                assert p.grad is not None
                nn.utils.clip_grad_norm_(p, 1.0)
                m.mul_(0.9).add_(p.grad, alpha=0.1)
                v.mul_(0.98).addcmul_(p.grad, p.grad, value=0.02)
                p.add_(m / (v.sqrt() + 1e-6) + 0.2 * p, alpha=-1e-3)
                p.grad = None

    def loss(self, phase: str, index: Tensor) -> Tensor:
        x, y = (
            torch.tanh(F.dropout(net(features[index]), 0.2))
            for net, features in zip(self.nets, (self.image, self.text), strict=True)
        )
        labels = self.labels[0][index]
        total = self.to_proxies(x, labels) + self.to_proxies(y, labels)
        graded = F.normalize(labels) @ F.normalize(labels).T
        multi = (labels.sum(dim=1) > 1).nonzero().squeeze(1)
        disjoint = labels[multi] @ labels[multi].T == 0
        for u, v in ((x, x), (y, y), (x, y)):
            cos = F.normalize(u) @ F.normalize(v).T
            near = F.relu(graded - cos)[graded > 0]
            if len((graded > 0).nonzero()):
                total = total + 0.05 * near.sum() / len((graded > 0).nonzero())
            apart = F.relu(cos[multi][:, multi])
            if len(disjoint.nonzero()):
                total = total + 0.8 * apart[disjoint].sum() / len(disjoint.nonzero())
        return total

    def to_proxies(self, x: Tensor, labels: Tensor) -> Tensor:
        cos = F.normalize(x) @ F.normalize(self.proxies).T
        distance = 1 - cos
        positive = distance[labels == 1].sum() / len((labels == 1).nonzero())
        negative = F.relu(cos[labels == 0]).sum() / len((labels == 0).nonzero())
        return positive + negative + torch.var(distance * labels, dim=1).mean()


EAGER: dict[str, type[Any]] = {"dcmh": EagerDCMH, "hichnet": EagerHiCHNet, "djsrh": EagerDJSRH, "dcgh": EagerDCGH}
