"""Picture networks of the package timm, each with the scale and cut that its weights were trained with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fasthash.embedding._network import NetworkEncoder, one_line, place
from fasthash.features._packages import require
from fasthash.features.pictures import open_picture


class TimmEncoder(NetworkEncoder):
    """Pooled features of pictures, before the classes.

    Args:
        model: as timm names it, such as "resnet50.a1_in1k"; its weights come from the hub.
        weights: a file of weights instead.
    Source: Wightman, PyTorch Image Models, 2019.
    """

    kind = "timm"
    items = "pictures"
    batch = (8, 128)

    def __init__(self, model: str, weights: str | None = None, **facts: Any) -> None:
        super().__init__(**facts)
        if not model:
            raise ValueError("timm: needs a model, as in timm:resnet50")
        self.model, self.weights = model, None if weights is None else place(weights)
        self._transform: Any

    def __str__(self) -> str:
        return f"timm:{self.model}"

    def load(self) -> nn.Module:
        library = require("timm", "timm", "timm", f"the encoder {self}")
        if self.weights is not None and not Path(self.weights).is_file():
            raise FileNotFoundError(f"{self}: weights: no such file: {self.weights}")
        own = {} if self.weights is None else {"pretrained_cfg_overlay": {"file": self.weights}}
        try:
            made: nn.Module = library.create_model(self.model, pretrained=True, num_classes=0, **own)
            settings = library.data.resolve_model_data_config(made)
            self._transform = library.data.create_transform(**settings, is_training=False)
        except Exception as error:  # no network, no such model, a file that does not fit: each raises its own
            raise ValueError(f"{self} cannot be loaded: {one_line(error)}") from None
        return made

    def _measure(self, network: Any) -> int:
        return int(network.num_features)

    def read(self, item: Any, name: str) -> Any:
        return self._transform(open_picture(item, name))

    def collate(self, network: Any, inputs: list[Any]) -> Any:
        return torch.stack(inputs)

    def run(self, network: Any, batch: Any, device: torch.device) -> Tensor:
        made: Tensor = network(batch.to(device))
        return made

    def settings(self) -> dict[str, Any]:
        return {"model": self.model, "weights": self.weights}
