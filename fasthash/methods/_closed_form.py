"""Base of the shallow methods: fitted to all training rows at once, by linear algebra in float64 on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fasthash.methods._base import Preset, Settings
from fasthash.models.view import View

Floats = NDArray[np.float64]
Report = Callable[[int, int, "float | None"], None]  # iterations done, of how many, objective after the last one


class ClosedFormOptions(Settings):
    """A shallow method's hyper-parameters."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """The training pairs, centred by their means; row i of every field is the same pair.

    Args:
        x, y: image features [n, p_image] and text features [n, p_text].
        x_mean, y_mean: [p_image] and [p_text], what was subtracted.
        labels: multi-hot 0.0 and 1.0 [n, c], at least one in every row; None for methods that take no labels.
    """

    x: Floats
    y: Floats
    x_mean: Floats
    y_mean: Floats
    labels: Floats | None = None

    @classmethod
    def of(cls, image: Any, text: Any, labels: Any = None) -> Pairs:
        """Centred copies of features [n, p]; float64."""
        x, y = (np.array(rows, np.float64) for rows in (image, text))
        x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
        x -= x_mean
        y -= y_mean
        return cls(x, y, x_mean, y_mean, None if labels is None else np.asarray(labels, np.float64))

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, eq=False)
class Solution:
    """What a fit gives.

    Args:
        image, text: encoders of both modalities.
        learned: values [n, bits] whose signs are the codes that the training pairs got in the fit, where it makes any.
        objective: after each iteration, of methods that iterate.
    """

    image: View
    text: View
    learned: NDArray[Any] | None = None
    objective: tuple[float, ...] = ()


class ClosedForm:
    """A method that is solved in closed form or by alternating exact steps, without gradients or batches.

    ``fasthash.train`` runs it like every other method; model, codes and scores come out alike.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    supervision: ClassVar[Literal["none", "labels", "label tree"]]
    options_type: ClassVar[type[ClosedFormOptions]]
    presets: ClassVar[dict[str, Preset]]
    learns_codes: ClassVar[bool] = False  # whether `Solution.learned` holds any
    seeded: ClassVar[bool] = True  # whether another seed gives other codes

    def __init__(self, options: Any) -> None:
        self.options = options

    def check(self, widths: tuple[int, int], bits: int) -> None:
        """ValueError where features of these widths, image and text, cannot give so many bits; before any work."""

    def fit(self, pairs: Pairs, bits: int, seed: int, report: Report) -> Solution:
        """Solve for the training pairs.

        Args:
            pairs: may be overwritten: nobody reads them afterwards.
            report: to be called after each iteration.
        """
        raise NotImplementedError
