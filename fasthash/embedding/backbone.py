"""The networks of ``fasthash.models.backbones``, frozen, as encoders: CLIP's two sides, AlexNet, VGG-F, ImageNet's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fasthash.embedding._network import NetworkEncoder, is_path, place
from fasthash.features import EfficientNetLite0, Extractor
from fasthash.models import backbones
from fasthash.models.backbones import PictureBackbone
from fasthash.models.backbones.clip import ClipText


class PictureEncoder(NetworkEncoder):
    """Features of pictures from a backbone: those it gives to a tower before any training.

    Args:
        backbone: as `backbones.build` takes it: "clip:FOLDER", "alexnet", "vgg_f", "imagenet:SIZE".
        weights: the file, for alexnet and vgg_f.
        transform: "consistent", or "official" for clip.
    """

    kind = "picture_backbone"
    items = "pictures"
    batch = (8, 128)

    def __init__(self, backbone: str, weights: str | None = None, transform: str = "consistent", **facts: Any) -> None:
        super().__init__(**facts)
        if weights == "random":
            raise ValueError(f"embed: weights of {backbone} must be a file, random ones give features of nothing")
        self.backbone, self.transform = _named(backbone), transform
        self.weights = None if weights is None else place(weights)

    def __str__(self) -> str:
        return self.backbone

    def load(self) -> PictureBackbone:
        _check_folder(self.backbone)
        made = backbones.build(self.backbone, weights=self.weights, transform=self.transform)
        if not isinstance(made, PictureBackbone):
            raise ValueError(f"embed: {self.backbone} takes {made.takes}, not pictures")
        return made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def read(self, item: Any, name: str) -> Any:
        return self.network.transform.test.base(item, name)

    def collate(self, network: Any, inputs: list[Any]) -> Any:
        return torch.from_numpy(np.stack(inputs))

    def run(self, network: Any, batch: Any, device: torch.device) -> Tensor:
        # the channels stay last in memory: the layout convolutions are fastest in
        made: Tensor = network(batch.to(device).permute(0, 3, 1, 2))
        return made

    def settings(self) -> dict[str, Any]:
        return {"backbone": self.backbone, "weights": self.weights, "transform": self.transform}

    def extractor(self) -> Extractor:
        """What makes these features of new pictures. ImageNet's has had an extractor of its own from the start."""
        name, _, size = self.backbone.partition(":")
        return EfficientNetLite0(int(size or 224)) if name == "imagenet" else self


class TextEncoder(NetworkEncoder):
    """Features of texts from a backbone, of texts as long as the model takes them (CLIP: 77 tokens).

    Args:
        backbone: "clip:NAME" or "clip:FOLDER".
    """

    kind = "text_backbone"
    items = "texts"
    batch = (32, 512)

    def __init__(self, backbone: str, **facts: Any) -> None:
        super().__init__(**facts)
        self.backbone = _named(backbone)

    def __str__(self) -> str:
        return self.backbone

    def load(self) -> ClipText:
        _check_folder(self.backbone)
        made = backbones.build(self.backbone, side="text", full=True)
        if not isinstance(made, ClipText):
            raise ValueError(f"embed: {self.backbone} is no text network of the CLIP family")
        return made

    def collate(self, network: Any, inputs: list[Any]) -> Any:
        return network.shortened(torch.from_numpy(network.tokenizer.encode(inputs)))

    def run(self, network: Any, batch: Any, device: torch.device) -> Tensor:
        made: Tensor = network.short(batch.to(device))
        return made

    def settings(self) -> dict[str, Any]:
        return {"backbone": self.backbone}


def _check_folder(spec: str) -> None:
    """Before the hub is asked for a name that is none."""
    argument = spec.partition(":")[2]
    if is_path(argument) and not Path(argument).expanduser().exists():
        raise FileNotFoundError(f"{spec}: no such folder: {argument}")


def _named(spec: str) -> str:
    name, colon, argument = spec.partition(":")
    return f"{name}{colon}{place(argument)}" if name == "clip" and argument else spec
