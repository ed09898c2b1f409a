"""DBRC: unsupervised hashing by rebuilding both modalities from one binary code, of both, of either one.

Hu, Nie, Li: Deep Binary Reconstruction for Cross-Modal Hashing, ACM Multimedia 2017; IEEE Transactions on Multimedia
21(4), 2019. There is no released code, and the texts leave open what the layers' widths and the weights are: defaults
are fasthash's own choices within the papers' description.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fasthash.methods._base import (
    SIDES,
    Batch,
    Method,
    Options,
    Outputs,
    Phase,
    Positive,
    Preset,
    TrainData,
    Weight,
    Widths,
)
from fasthash.methods._networks import groups, tower_of
from fasthash.methods._registry import register
from fasthash.models.adaptive_tanh import AdaptiveTanh
from fasthash.models.joint_side import JointSide
from fasthash.models.sparse import SparseBatch
from fasthash.models.teacher import FixedFeatures


class DBRCOptions(Options):
    """fasthash's own values within the papers' description."""

    epochs: int = Field(100, ge=1)
    batch_size: int = Field(100, ge=1)
    scaling: Literal["linear", "nonlinear"] = "linear"  # of the codes' activation: see AdaptiveTanh
    sharpness: Weight = 1e-3  # of sum 1/a^2 over the units, a the learned scale of each
    lr: Positive = 1e-3  # Adam
    image_hidden: Widths = (1024, 512)  # of the encoder; the decoder has them in reverse
    text_hidden: Widths = (1024, 512)
    centre: bool = True  # subtract the training mean: a missing modality is a row at the mean
    normalize: bool = True  # then scale rows to unit length, times the square root of their width


@register
class DBRC(Method):
    """|x - x'|^2 + |y - y'|^2 per feature, x' and y' decoded from the code of a pair, of its image and of its text.

    What is rebuilt are the features as the first layers see them; of a backbone that is trained along, the features it
    made before training.
    """

    name = "dbrc"
    paper = "Hu, Nie, Li: Deep Binary Reconstruction for Cross-Modal Hashing, TMM 21(4), 2019"
    supervision = "none"
    options_type = DBRCOptions
    presets: ClassVar = {
        data: Preset(
            f"fasthash's own: smaller networks, fewer epochs; chosen on a fifth of {data}'s training rows at 64 bits",
            {"epochs": epochs, "lr": lr, "image_hidden": hidden, "text_hidden": hidden},
        )
        for data, epochs, lr, hidden in (
            ("wiki", 10, 1e-3, (512, 256)),
            ("fashion_products", 5, 2e-3, (256,)),
            ("movie_posters", 5, 2e-3, (256,)),
            ("emoji", 10, 2e-3, (256,)),
        )
    }

    options: DBRCOptions
    image: JointSide
    text: JointSide

    def __init__(self, train: TrainData, bits: int, options: DBRCOptions) -> None:
        super().__init__(train, bits, options)
        o = options
        rows = {"image": train.image, "text": train.text}
        # before a step is made
        self.fixed = {s: FixedFeatures(r) for s, r in rows.items() if getattr(r, "backbone", None) is not None}
        config = {"centre": o.centre, "normalize": o.normalize}
        self.image = tower_of(JointSide, train.image, o.image_hidden, bits, **config)
        self.text = tower_of(JointSide, train.text, o.text_hidden, bits, **config)
        self.activation = AdaptiveTanh(bits, o.scaling)
        hidden = {"image": o.image_hidden, "text": o.text_hidden}
        self.decoders = nn.ModuleDict({s: _decoder(bits, hidden[s], rows[s].width) for s in SIDES})
        self.end_epoch(-1)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        o, networks = self.options, (self.image, self.text, self.activation, self.decoders)
        return {"networks": torch.optim.Adam(groups(*networks, backbone_scale=o.backbone_scale), o.lr, fused=True)}

    def phases(self, epoch: int) -> list[Phase]:
        return [Phase("joint", ("networks",))]

    def end_epoch(self, epoch: int) -> None:
        """Tell each side what the other one adds when it is missing."""
        self.image.take_missing(self.text)
        self.text.take_missing(self.image)

    def codes(self, batch: Batch) -> Tensor:
        """Relaxed codes [3, m, bits]: of both modalities, of the image alone, of the text alone."""
        image, text = self.image.share(batch.image), self.text.share(batch.text)
        no_image, no_text = self.image.share_of_nothing(), self.text.share_of_nothing()
        made: Tensor = self.activation(torch.stack([image + text, image + no_text, no_image + text]))
        return made

    def encode(self, batch: Batch, phase: str) -> Outputs:
        """Squared error per feature [m, 3] of each modality, rebuilt from each of the three codes."""
        codes = self.codes(batch)
        return {side: self._errors(side, codes, batch) for side in SIDES}

    def _errors(self, side: str, codes: Tensor, batch: Batch) -> Tensor:
        with torch.no_grad():
            target = getattr(self, side).scaled(self._features(side, getattr(batch, side), batch.index))
        rebuilt = self.decoders[side](codes)
        return (rebuilt.float() - target.float()).square().mean(dim=2).T

    def _features(self, side: str, x: Any, index: Tensor) -> Tensor:
        """[m, width] of the batch's rows, before centring and scaling."""
        if side not in self.fixed:
            return x.dense() if isinstance(x, SparseBatch) else x
        fixed = self.fixed[side]
        return fixed.of(x) if fixed.changes else fixed.all(index.device)[index]

    def loss(self, outputs: Outputs, index: Tensor, phase: str) -> dict[str, Tensor]:
        terms = {side: outputs[side].mean() for side in SIDES}
        return terms | {"sharpness": self.options.sharpness * self.activation.penalty()}


def _decoder(bits: int, hidden: tuple[int, ...], width: int) -> nn.Sequential:
    """Codes to features [..., width], by the encoder's hidden layers in reverse."""
    layers: list[nn.Module] = []
    before = bits
    for after in reversed(hidden):
        layers += [nn.Linear(before, after), nn.ReLU()]
        before = after
    return nn.Sequential(*layers, nn.Linear(before, width))
