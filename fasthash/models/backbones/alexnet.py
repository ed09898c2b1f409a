"""AlexNet, in the form whose weights torchvision publishes: the image network of DJSRH.

Krizhevsky: One weird trick for parallelizing convolutional neural networks, arXiv 1404.5997 (2014). Its teacher and
its code network are both this one, up to the second hidden layer (fc7).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray
from torch import Tensor, nn

from fasthash.models.backbones._base import PictureBackbone, cells, channels
from fasthash.models.backbones._files import RANDOM, load_weights, read_state
from fasthash.models.backbones._transform import PictureTransform, View

TRANSFORM = PictureTransform(train=View(224, 256, random_crop=True, flip=True), test=View(224, 256))


class AlexNet(PictureBackbone):
    """Pixels uint8 [m, 3, 224, 224] -> fc7 [m, 4096], not negative; regions are the 6x6 cells of pool5, 256 wide."""

    kind = "alexnet"
    width = 4096
    local_shape = (36, 256)

    def __init__(self) -> None:
        super().__init__(TRANSFORM, channels(0.485, 0.456, 0.406), channels(0.229, 0.224, 0.225))
        # the names and places are those of torchvision's state dict
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()
        )

    def maps(self, x: Tensor) -> Tensor:
        return self.features(self.scaled(x))

    def pool(self, maps: Tensor) -> Tensor:
        return self.classifier(maps.flatten(1))

    def split(self, maps: Tensor) -> Tensor:
        return cells(maps)

    @classmethod
    def build(cls, argument: str, weights: str | None, **options: Any) -> AlexNet:
        """``weights``: torchvision's state dict (alexnet-owt-7be5be79.pth), as .pth or .safetensors; or "random"."""
        if weights == RANDOM:
            return cls()
        state = read_state("alexnet", weights, "torchvision's state dict, alexnet-owt-7be5be79.pth")
        state.pop("classifier.6.weight", None)  # the 1000 classes of ImageNet
        state.pop("classifier.6.bias", None)
        made = cls()
        load_weights(made, state, weights, given=("mean", "std"))
        return made

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> AlexNet:
        return cls()
