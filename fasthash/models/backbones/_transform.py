"""How a picture becomes the square that a network sees: scale, cut, and in training move and mirror."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fasthash.features._packages import require
from fasthash.features.pictures import open_picture

Pixels = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class View:
    """One way from a picture to uint8 [size, size, 3]; JSON-able.

    `base` is the part that is the same at every look and may be kept; `augment` draws from a generator.
    """

    size: int  # side of the square
    resize: int  # the shorter side is scaled to this, or both sides are (squeeze)
    squeeze: bool = False  # give up the aspect ratio: nothing is cut off
    random_crop: bool = False  # cut the square from anywhere; else from the middle
    flip: bool = False  # mirror every second picture
    bicubic: bool = False  # else bilinear

    @property
    def augments(self) -> bool:
        """Whether two looks at a picture may differ."""
        return self.random_crop or self.flip

    def base(self, picture: Any, name: str = "picture") -> Pixels:
        """The scaled picture, already cut where the cut is from the middle: uint8 [h, w, 3]."""
        resampling = require("PIL.Image", "pillow", "report", "reading pictures").Resampling
        image = open_picture(picture, name)
        width, height = (self.resize,) * 2
        if not self.squeeze:
            shorter = min(image.size)
            width, height = (max(self.resize, self.resize * side // shorter) for side in image.size)
        if image.size != (width, height):
            image = image.resize((width, height), resampling.BICUBIC if self.bicubic else resampling.BILINEAR)
        pixels = np.asarray(image)
        if self.random_crop:
            return pixels
        top, left = (round((side - self.size) / 2) for side in pixels.shape[:2])
        return pixels[top : top + self.size, left : left + self.size].copy()  # not a view that keeps the whole alive

    def augment(self, base: Pixels, random: np.random.Generator) -> Pixels:
        """The square of one look: uint8 [size, size, 3]."""
        if self.random_crop:
            top, left = (int(random.integers(side - self.size + 1)) for side in base.shape[:2])
            base = base[top : top + self.size, left : left + self.size]
        if self.flip and random.integers(2):
            base = base[:, ::-1]
        return base

    def look(self, picture: Any, name: str = "picture", seed: tuple[int, ...] = (0,)) -> Pixels:
        """`base` and `augment` at once, the draw decided by ``seed``."""
        base = self.base(picture, name)
        return self.augment(base, np.random.default_rng(seed)) if self.augments else base


@dataclasses.dataclass(frozen=True)
class PictureTransform:
    """The views of training and of everything else (queries, database, encoding); JSON-able."""

    train: View
    test: View

    def __post_init__(self) -> None:
        if self.test.augments:
            raise ValueError("PictureTransform: test must not draw at random")
        if not self.train.size == self.test.size <= min(self.train.resize, self.test.resize):
            raise ValueError(
                f"PictureTransform: the views must have one size, at most resize, got {self.train} and {self.test}"
            )

    @property
    def size(self) -> int:
        return self.test.size

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PictureTransform:
        return cls(View(**values["train"]), View(**values["test"]))


def clip_transform(size: int, mode: Literal["consistent", "official"], *, bicubic: bool = True) -> PictureTransform:
    """CLIP's scale and middle cut; "official": queries and database squeezed, as the released codes built on it do."""
    middle = View(size, size, bicubic=bicubic)
    return PictureTransform(middle, dataclasses.replace(middle, squeeze=True) if mode == "official" else middle)
