"""What a backbone is: a network from pixels or tokens to features, that a tower fine-tunes, and a file rebuilds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fasthash.models.backbones._transform import PictureTransform

Self = TypeVar("Self", bound="Backbone")


class Backbone(nn.Module):
    """Pixels or tokens [m, ...] -> features [m, width]; local ones [m, r, p] from the same pass.

    A class has ``kind``, ``config`` and ``from_config``; its own part is `maps`, `pool` and `split`. Weights are the
    state dict; `tensors` holds what is no weight (a tokenizer), for `from_config` to be given back.
    """

    kind: ClassVar[str]
    takes: Literal["pictures", "texts"] = "pictures"
    width: int  # of the features
    local_shape: tuple[int, int]  # (r, p): local features of a row, and their width

    @classmethod
    def build(cls, argument: str, weights: str | None, **options: Any) -> Backbone:
        """The backbone a user names as "kind:argument", with its weights."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """JSON-able description; "kind" names the class."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Backbone:
        """The same network with weights still to be loaded."""
        raise NotImplementedError

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {}

    def maps(self, x: Tensor) -> Any:
        """What global and local features are both made of."""
        raise NotImplementedError

    def pool(self, maps: Any) -> Tensor:
        """Features [m, width]."""
        raise NotImplementedError

    def split(self, maps: Any) -> Tensor:
        """Local features [m, r, p]."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.maps(x))

    def regions(self, x: Tensor) -> Tensor:
        """Local features [m, r, p]: of picture regions, or of tokens."""
        return self.split(self.maps(x))

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features [m, width] and local features [m, r, p] from one pass."""
        maps = self.maps(x)
        return self.pool(maps), self.split(maps)

    @torch.no_grad()
    def mean_features(self, batches: Iterable[Tensor]) -> Tensor:
        """[width] mean of the features over batches of inputs, float32, on the CPU: what a tower centres by."""
        was_training = self.training
        self.eval()
        try:
            sums, rows = torch.zeros(self.width, dtype=torch.float64), 0
            for x in batches:
                sums += self(x).double().sum(dim=0).cpu()
                rows += len(x)
        finally:
            self.train(was_training)
        return (sums / rows).float()

    def freeze(self: Self) -> Self:
        """No gradients and no dropout, whatever the mode: a fixed function of its input."""
        self.requires_grad_(False)
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            for name in ("dropout", "attention_dropout"):  # as transformers' attention layers keep theirs
                if isinstance(getattr(module, name, None), float):
                    setattr(module, name, 0.0)
        return self


class PictureBackbone(Backbone):
    """Takes uint8 pixels [m, 3, size, size]; scales them as its weights were trained with.

    Args:
        transform: views of training and test.
        mean: [3, 1, 1] or [3, size, size], subtracted from pixels times ``scale``.
        std: [3, 1, 1], divided by after that.
        scale: 1 / 255, or 1 for networks trained on 0 to 255.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, transform: PictureTransform, mean: Tensor, std: Tensor, scale: float = 1 / 255) -> None:
        super().__init__()
        self.transform, self.scale = transform, scale
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def scaled(self, pixels: Tensor) -> Tensor:
        """float32 [m, 3, size, size], centred.

        Raises:
            ValueError: "alexnet: pixels must be uint8 [m, 3, 224, 224], got torch.float32 (4, 3, 32, 32)".
        """
        size = self.transform.size
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (3, size, size):
            raise ValueError(
                f"{self.kind}: pixels must be uint8 [m, 3, {size}, {size}], got {pixels.dtype} {tuple(pixels.shape)}"
            )
        return (pixels.float() * self.scale - self.mean) / self.std


def channels(*values: float) -> Tensor:
    """One value a channel, as [3, 1, 1]."""
    return torch.tensor(values, dtype=torch.float32).view(3, 1, 1)


def cells(maps: Tensor) -> Tensor:
    """A feature map [m, p, h, w] as its places [m, h * w, p], row by row."""
    return maps.flatten(2).transpose(1, 2)
