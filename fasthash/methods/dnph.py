"""DNPH: codes that choose their classes' proxies by distance, spread evenly by targets drawn at random.

Huo et al.: Deep Neighborhood-aware Proxy Hashing with Uniform Distribution Constraint for Cross-modal Retrieval, ACM
TOMM 2024. Defaults are those of the authors' released code, but for its proxies, which never move.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from fasthash import losses
from fasthash.methods._base import SIDES, Batch, Method, Outputs, Phase, Positive, Preset, Share, TrainData, Weight
from fasthash.methods._clip_line import ProxyOptions, bert_adam, proxy_sgd, towers
from fasthash.methods._registry import register
from fasthash.models import Tower


class DNPHOptions(ProxyOptions):
    """Values of the released code, the same for all its data sets."""

    # official: they stay the random numbers they begin as, since the released code never steps their optimiser
    proxies: Literal["learned", "official"] = "learned"
    lr_proxies: Positive = 1e-4
    momentum_proxies: Share = 0.0
    weight_decay_proxies: Weight = 0.0
    margin: float = 1.0  # added to the squared distances, 0 to 4, of a code to the proxies of its own classes
    # cross-entropy of a class guessed from the features. Of a sample with several labels only the first one is asked
    # for, as in the released code
    class_weight: Weight = 1.0
    uniformity: Weight = 0.1  # inner product of codes and random codes that are matched to them; 0 needs no matching


@register
class DNPH(Method):
    """Proxy NCA of both modalities' codes + cross-entropy of the first label - 0.1 codes' matched random targets."""

    name = "dnph"
    paper = (
        "Huo et al.: Deep Neighborhood-aware Proxy Hashing with Uniform Distribution Constraint for Cross-modal"
        " Retrieval, ACM TOMM 2024"
    )
    supervision = "labels"
    options_type = DNPHOptions
    presets: ClassVar = {
        data: Preset(
            "fasthash's own: one hidden layer on features, fewer epochs, faster proxies and a tenth of the uniformity;"
            f" chosen on a fifth of {data}'s training rows at 64 bits",
            {
                "centre": True, "normalize": True, "image_hidden": hidden, "text_hidden": hidden, "uniformity": 0.01,
                "lr_proxies": 0.1, "momentum_proxies": 0.9, **values,
            },
        )
        for data, hidden, values in (
            ("wiki", (256,), {"epochs": 40, "lr": 3e-3, "dropout": 0.2, "code_dropout": 0.0}),
            ("fashion_products", (512,), {"epochs": 15, "lr": 2e-3, "dropout": 0.2}),
            ("movie_posters", (256,), {"epochs": 20, "dropout": 0.5}),
            ("emoji", (512,), {"epochs": 30, "batch_size": 64, "lr": 3e-3, "dropout": 0.5, "code_dropout": 0.0}),
        )
    }  # fmt: skip

    options: DNPHOptions
    target_seed: Tensor
    steps_made: Tensor

    def __init__(self, train: TrainData, bits: int, options: DNPHOptions) -> None:
        super().__init__(train, bits, options)
        assert train.labels is not None
        o, classes = options, train.labels.shape[1]
        self.image, self.text = towers(Tower, train, bits, o)
        self.code_dropout = nn.Dropout(o.code_dropout)
        self.classifiers = nn.ModuleDict(
            {side: nn.Linear(_trunk_width(getattr(self, side)), classes) for side in SIDES}
        )
        self.classifiers.requires_grad_(o.class_weight > 0)
        self.nca = losses.ProxyNCA(classes, bits, margin=o.margin)
        self.nca.requires_grad_(o.proxies == "learned")
        self.labels = train.labels
        # the targets of a step follow from these alone: they are the same on all processes, and after resuming
        self.register_buffer("target_seed", torch.randint(2**31, ()))
        self.register_buffer("steps_made", torch.zeros((), dtype=torch.int64))
        self.rows = len(train)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        made: dict[str, torch.optim.Optimizer] = {
            "networks": bert_adam(self.options, self.rows, self.image, self.text, self.classifiers)
        }
        if self.options.proxies == "learned":
            made["proxies"] = proxy_sgd(self.options, self.nca)
        return made

    def phases(self, epoch: int) -> list[Phase]:
        return [Phase("joint", ("networks", "proxies") if self.options.proxies == "learned" else ("networks",))]

    def encode(self, batch: Batch, phase: str) -> Outputs:
        outputs = {}
        for side, x in (("image", batch.image), ("text", batch.text)):
            tower: Tower = getattr(self, side)
            f = tower.trunk(x)
            outputs[side] = torch.tanh(self.code_dropout(tower.head(f)))
            if self.options.class_weight:
                outputs[f"class_{side}"] = self.classifiers[side](f)
        return outputs

    def loss(self, outputs: Outputs, index: Tensor, phase: str) -> dict[str, Tensor]:
        o, labels = self.options, self.labels[index]
        codes = [outputs[side] for side in SIDES]
        terms = {"proxies": self.nca(torch.cat(codes), labels.repeat(2, 1))}
        if o.class_weight:
            first = _first_label(labels)
            guesses = [outputs[f"class_{side}"] for side in SIDES]
            terms["classes"] = o.class_weight * sum(_cross_entropy(guess, first) for guess in guesses)
        if o.uniformity:
            targets = self._targets(codes[0])
            near = sum((h * losses.match_codes(h.detach(), targets)).sum(dim=1).mean() for h in codes)
            terms["uniformity"] = -o.uniformity * near
        return terms

    def _targets(self, like: Tensor) -> Tensor:
        """Codes -1/+1 drawn for this step, one for each row of both modalities."""
        generator = torch.Generator().manual_seed(int(self.target_seed) + int(self.steps_made))
        self.steps_made += 1
        return (2 * torch.randint(2, like.shape, generator=generator) - 1).to(like)


def _trunk_width(tower: Tower) -> int:
    config = tower.config
    return config.hidden[-1] if config.hidden else config.width


def _first_label(labels: Tensor) -> Tensor:
    """int64 [m], the first class of each row; -100, which cross-entropy leaves out, for rows without one."""
    return torch.where(labels.amax(dim=1) > 0, (labels != 0).int().argmax(dim=1), -100)


def _cross_entropy(logits: Tensor, first: Tensor) -> Tensor:
    """Mean over the rows that have a label, 0 without any."""
    total = nn.functional.cross_entropy(logits, first, reduction="sum")
    return total / (first >= 0).sum().clamp(min=1)
