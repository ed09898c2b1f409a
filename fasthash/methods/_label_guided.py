"""What SSAH and UDSPH share: a label network that the image and text networks follow, and a game against two judges."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from fasthash import losses, ops
from fasthash.methods._base import Batch, Method, Options, Outputs, TrainData, Weight, Widths
from fasthash.methods._networks import groups, signs_of_sum, tower, write_unified
from fasthash.models import Tower, TowerConfig
from fasthash.models.discriminator import Discriminator
from fasthash.models.heads import Heads

SIDES = ("image", "text")


class LabelGuidedOptions(Options):
    """Networks of both methods: SSAH's code."""

    width: int = Field(512, ge=1)  # of the features f, the same for all three networks
    image_hidden: Widths = ()  # hidden layers before f; feature mode: f is the first layer on fixed features
    text_hidden: Widths = (4096,)
    label_hidden: Widths = (4096,)
    discriminator_hidden: Widths = (512, 256)
    label_net: bool = True  # False: image and text follow each other's banks, and there is no adversary
    channel_norm: bool = False  # normalisation across channels in the text and label networks
    normalize: bool = False  # unit-length rows before the first layer, features centred before that
    dropout: float = Field(0.0, ge=0, lt=1)  # of the image and text networks' hidden layers and f
    init_std: float | None = Field(None, gt=0)  # None: PyTorch's default initialisation
    weight_decay: Weight = 0.0


class LabelGuided(Method):
    """Networks, banks, unified codes, and the terms of a network's loss.

    Banks hold the outputs of the latest training pass: codes of every network, features of those that others follow.

    Args:
        adversary: whether there are discriminators.
        text: further fields of the text network's ``TowerConfig``.
    """

    supervision = "labels"
    learns_codes = True
    options: Any
    unified: Tensor  # B [n, bits], -1/+1
    row_buffers: ClassVar = ("unified",)
    hot: Tensor  # labels [n, c], multi-hot

    def __init__(self, train: TrainData, bits: int, options: Any, *, adversary: bool, **text: Any) -> None:
        super().__init__(train, bits, options)
        assert train.labels is not None
        o: LabelGuidedOptions = options
        self.shard, classes = train.shard, train.labels.shape[1]
        if adversary and not o.label_net:
            raise ValueError(f"{self.name}: option adversary must be 0 without label_net: there is nothing to imitate")
        config = {"normalize": o.normalize, "dropout": o.dropout, "init_std": o.init_std}
        text |= {"channel_norm": "first and last"} if o.channel_norm else {}
        self.image = tower(train.image, (*o.image_hidden, o.width), bits, **config)
        self.text = tower(train.text, (*o.text_hidden, o.width), bits, **config, **text)
        self.label = self._label_tower(classes) if o.label_net else None
        sides = ("label", *SIDES) if o.label_net else SIDES
        self.heads = nn.ModuleDict({side: Heads(self.network(side), classes) for side in sides})
        self.judges = nn.ModuleDict()
        if adversary:
            for side in SIDES:
                self.judges[side] = Discriminator(o.width, o.discriminator_hidden, init_std=o.init_std)
        followed = ("label",) if o.label_net else SIDES
        self.features = nn.ModuleDict({s: losses.CodeBank(self.shard.randn(o.width), self.shard) for s in followed})
        # codes that no other network follows count in B alone, and for nothing before they are there
        none = torch.zeros(len(self.shard), bits)
        starts = {side: self.shard.randn(bits) if side in followed else none for side in sides}
        self.codes = nn.ModuleDict({side: losses.CodeBank(start, self.shard) for side, start in starts.items()})
        self.register_buffer("unified", torch.empty(len(self.shard), bits))
        self.register_buffer("hot", train.labels, persistent=False)
        self.labels = ops.pack_labels(train.labels)
        self.is_first = True
        self.end_epoch(-1)

    def _label_tower(self, classes: int) -> Tower:
        o = self.options
        config = {"normalize": o.normalize, "channel_norm": "first" if o.channel_norm else None, "init_std": o.init_std}
        return Tower(TowerConfig(classes, (*o.label_hidden, o.width), self.bits, centre=False, **config))

    def _adam(self, lr: float, *modules: nn.Module, **settings: Any) -> torch.optim.Optimizer:
        o = self.options
        # fused: one pass over the parameters; the step by separate operations takes longer than the networks
        made = groups(*modules, backbone_scale=o.backbone_scale)
        return torch.optim.AdamW(made, lr=lr, weight_decay=o.weight_decay, fused=True, **settings)

    def begin_epoch(self, epoch: int) -> None:
        self.is_first = epoch == 0

    def end_epoch(self, epoch: int) -> None:
        write_unified(self.unified, [self._bank(self.codes, side).codes for side in self.codes])

    def learned_codes(self) -> Tensor:
        return self.unified

    def _signs(self, rows: Tensor) -> Tensor:
        """sgn(H + F + G)."""
        return signs_of_sum([self._bank(self.codes, side).rows(rows) for side in self.codes])

    def encode(self, batch: Batch, phase: str) -> Outputs:
        """f, h and y of the networks that a phase trains; for the discriminators, the others' f without gradient."""
        if phase == "discriminator":
            with torch.no_grad():
                return {f"{side}_f": self.trunk(side, batch) for side in SIDES}
        made: Outputs = {}
        for side in SIDES if phase == "joint" else (phase,):
            made |= self.outputs(side, self.trunk(side, batch))
        return made

    def trunk(self, side: str, batch: Batch) -> Tensor:
        """f [m, width] of a network."""
        x = self.hot[batch.index].float() if side == "label" else getattr(batch, side)
        return self.network(side).trunk(x)

    def outputs(self, side: str, f: Tensor) -> Outputs:
        """f, h and y of a network, by the names that `network_terms` reads."""
        h, y = self.heads[side](self.network(side), f)
        return {f"{side}_f": f, f"{side}_h": h, f"{side}_y": y}

    def network(self, side: str) -> Tower:
        tower = getattr(self, side)
        assert isinstance(tower, Tower)
        return tower

    def network_terms(
        self, side: str, outputs: Outputs, index: Tensor, weights: dict[str, float], *, mean: bool
    ) -> dict[str, Tensor]:
        """The four terms of a network's loss, those of weight 0 left out; writes the network's banks.

        Args:
            weights: of "feature", "code", "quantization" and "label".
            mean: each term over the number of its entries, m x n pairs, m x bits or m x classes; False: sums.
        """
        f, h, y = (outputs[f"{side}_{part}"] for part in "fhy")
        self._bank(self.codes, side).update(index, h)
        if side in self.features:
            self._bank(self.features, side).update(index, f)
        followed = "label" if self.label is not None else "text" if side == "image" else "image"
        makers = {
            "feature": lambda: self.pairs(f, self._bank(self.features, followed), index),
            "code": lambda: self.pairs(h, self._bank(self.codes, followed), index),
            "quantization": lambda: self.squares(h, self.target_codes(h, index)),
            "label": lambda: self.squares(y, self.hot[index]),
        }
        entries = {"feature": len(index) * len(self.hot), "code": len(index) * len(self.hot)}
        entries |= {"quantization": h.numel(), "label": y.numel()}
        return {
            name: weights[name] / (entries[name] if mean else 1) * make()
            for name, make in makers.items()
            if weights[name]
        }

    def pairs(self, a: Tensor, bank: losses.CodeBank, index: Tensor) -> Tensor:
        """Negative log-likelihood of the label similarity under theta = a @ bank.T / 2, summed over the pairs."""
        return bank.pairs(ops.pairwise_nll, a, self.labels[index], self.labels)

    def squares(self, x: Tensor, target: Tensor) -> Tensor:
        return (x - target).square().sum()

    def target_codes(self, h: Tensor, index: Tensor) -> Tensor:
        """What quantisation draws h to: the unified codes; in the first epoch, the signs so far."""
        return self._signs(index) if self.is_first else self.unified_rows(index)

    def unified_rows(self, index: Tensor) -> Tensor:
        """B of a batch, [m, bits]."""
        return self.shard.rows(self.unified, index)

    def adversarial_term(self, side: str, outputs: Outputs) -> Tensor:
        """Mean of -log D(f): low where the discriminator takes f for the label network's; moves the network alone."""
        return self.judge(side).encoder_loss(outputs[f"{side}_f"])

    def discriminator_loss(self, outputs: Outputs, index: Tensor) -> dict[str, Tensor]:
        """A quarter of the four mean cross-entropies of telling real features from others; moves the judges alone."""
        real = self._bank(self.features, "label").rows(index)
        return {side: self.judge(side).loss(real, outputs[f"{side}_f"]) / 2 for side in SIDES}

    def judge(self, side: str) -> Discriminator:
        judge = self.judges[side]
        assert isinstance(judge, Discriminator)
        return judge

    @staticmethod
    def _bank(banks: nn.ModuleDict, side: str) -> losses.CodeBank:
        bank = banks[side]
        assert isinstance(bank, losses.CodeBank)
        return bank
