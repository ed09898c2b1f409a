"""VGG-F, also called CNN-F: the image network of DCMH, SSAH and HiCHNet.

Chatfield, Simonyan, Vedaldi, Zisserman: Return of the Devil in the Details, BMVC 2014. Its weights exist as a
MatConvNet file only (imagenet-vgg-f.mat).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fasthash.models.backbones._base import PictureBackbone, cells, channels
from fasthash.models.backbones._files import RANDOM, load_weights
from fasthash.models.backbones._mat import read_matconvnet
from fasthash.models.backbones._transform import PictureTransform, View

_VIEW = View(224, 224, squeeze=True, bicubic=True)  # as the DCMH line does; no augmentation
TRANSFORM = PictureTransform(_VIEW, _VIEW)
LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")


class LocalResponseNorm(nn.Module):
    """x / (kappa + alpha * sum of the squares of the window of channels around) ** beta, with AlexNet's constants.

    ``alpha`` is per element, as the papers and MatConvNet have it; torch's own layer divides it by the window.
    """

    def __init__(self, size: int = 5, kappa: float = 2.0, alpha: float = 1e-4, beta: float = 0.75) -> None:
        super().__init__()
        self.norm = nn.LocalResponseNorm(size, alpha * size, beta, kappa)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.float())  # squares and their power lose too much in half precision


class MaxPool(nn.Module):
    """Largest of 3x3 every 2, with one row and column of zeros at the lower right where the last window needs them.

    Inputs are behind a ReLU, so the zeros never win against a value.
    """

    def __init__(self, pad: bool) -> None:
        super().__init__()
        self.pad = pad

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.max_pool2d(nn.functional.pad(x, (0, 1, 0, 1)) if self.pad else x, 3, 2)


class VGGF(PictureBackbone):
    """Pixels uint8 [m, 3, 224, 224] -> fc7 [m, 4096], not negative; regions are the 6x6 cells of pool5, 256 wide."""

    kind = "vgg_f"
    width = 4096
    local_shape = (36, 256)

    def __init__(self) -> None:
        # the mean image is the file's; 0 to 255, RGB
        super().__init__(TRANSFORM, torch.zeros(3, 224, 224), channels(1.0, 1.0, 1.0), scale=1.0)
        self.conv1, self.conv2 = nn.Conv2d(3, 64, 11, stride=4), nn.Conv2d(64, 256, 5, padding=2)
        self.conv3, self.conv4, self.conv5 = (nn.Conv2d(256, 256, 3, padding=1) for _ in range(3))
        self.fc6, self.fc7 = nn.Linear(9216, 4096), nn.Linear(4096, 4096)
        self.norm, self.padded, self.plain = LocalResponseNorm(), MaxPool(pad=True), MaxPool(pad=False)

    def maps(self, x: Tensor) -> Tensor:
        x = self.padded(self.norm(self.conv1(self.scaled(x)).relu()))  # 54x54 -> 27x27
        x = self.plain(self.norm(self.conv2(x).relu()))  # 27x27 -> 13x13
        return self.plain(self.conv5(self.conv4(self.conv3(x).relu()).relu()).relu())  # 13x13 -> 6x6

    def pool(self, maps: Tensor) -> Tensor:
        return self.fc7(self.fc6(maps.flatten(1)).relu()).relu()

    def split(self, maps: Tensor) -> Tensor:
        return cells(maps)

    @classmethod
    def build(cls, argument: str, weights: str | None, **options: Any) -> VGGF:
        """``weights``: MatConvNet's imagenet-vgg-f.mat; or "random", with a mean image of mid grey."""
        if weights == RANDOM:
            made = cls()
            made.mean.fill_(127.5)
            return made
        state = _state(weights)
        made = cls()
        load_weights(made, state, weights, given=("std",))
        return made

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> VGGF:
        return cls()


def _state(weights: str | None) -> dict[str, Tensor]:
    """The state dict in a MatConvNet file: filters [h, w, in, out] become [out, in, h, w]."""
    layers, mean = read_matconvnet("vgg_f", weights, LAYERS, "MatConvNet's imagenet-vgg-f.mat")
    state = {}
    for name, (filters, biases) in layers.items():
        filters = filters.reshape(filters.shape + (1,) * (4 - filters.ndim))  # MATLAB drops trailing ones
        weight = torch.from_numpy(filters.transpose(3, 2, 0, 1).copy()).float()
        # a fully connected layer is a filter as large as its input: [out, 256, 6, 6], flattened as `pool` does
        state[f"{name}.weight"] = weight.flatten(1) if name.startswith("fc") else weight
        state[f"{name}.bias"] = torch.from_numpy(biases.reshape(-1).copy()).float()
    image = torch.from_numpy(mean.copy()).float()
    if image.numel() == 3:  # later releases keep one mean a channel
        image = image.reshape(1, 1, 3).expand(224, 224, 3)
    state["mean"] = image.permute(2, 0, 1).contiguous() if image.ndim == 3 else image
    return state
