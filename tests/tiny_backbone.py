"""A picture network of a few hundred weights, known to the registry as "tiny": what the trainer's tests fine-tune.

"tiny:still" has no augmentation, "tiny:sure" no dropout.
"""

import torch
from torch import nn

from fasthash.models import backbones
from fasthash.models.backbones import PictureTransform, View
from fasthash.models.backbones._base import cells, channels

SIZE = 16


@backbones.register
class Tiny(backbones.PictureBackbone):
    kind = "tiny"
    width = 8
    local_shape = (16, 8)

    def __init__(self, augment=True, dropout=0.1):
        view = View(SIZE, SIZE + 4)
        train = View(SIZE, SIZE + 4, random_crop=True, flip=True) if augment else view
        super().__init__(PictureTransform(train, view), channels(0.5, 0.5, 0.5), channels(0.3, 0.3, 0.3))
        self.augment = augment
        self.conv = nn.Conv2d(3, 8, 5, stride=4, padding=2)
        self.dropout = nn.Dropout(dropout)

    def maps(self, x):
        return self.conv(self.scaled(x)).relu()

    def pool(self, maps):
        return self.dropout(maps.amax(dim=(2, 3)))

    def split(self, maps):
        return cells(maps)

    @classmethod
    def build(cls, argument, weights, **options):
        assert weights in (None, "random")
        torch.manual_seed(11)
        return cls("still" not in argument, 0.0 if "sure" in argument else 0.1)

    def config(self):
        return {"kind": self.kind, "augment": self.augment, "dropout": self.dropout.p}

    @classmethod
    def from_config(cls, config, tensors):
        return cls(config["augment"], config["dropout"])
