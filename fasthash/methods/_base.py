"""What a method is to the trainer: networks, phases, a loss per phase, and state that is kept between steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from fasthash.models import Tower

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Widths = tuple[Annotated[int, Field(ge=1)], ...]  # of hidden layers; () is none


class Options(BaseModel):
    """A method's hyper-parameters: the paper's values as defaults; unknown names and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    epochs: int
    batch_size: int


@dataclass(frozen=True)
class Preset:
    """Options that fit one data set, and where they come from."""

    source: str
    values: dict[str, Any]


@dataclass(frozen=True)
class TrainData:
    """The training rows on the training device; row i of every field is the same pair."""

    image: Tensor  # float32 [n, p_image]
    text: Tensor  # float32 [n, p_text]
    labels: Tensor | None  # uint8 multi-hot [n, c]; None for methods that take no labels

    def __len__(self) -> int:
        return len(self.image)


@dataclass  # not frozen: Fabric rebuilds it when it converts inputs for a precision
class Batch:
    """Some training rows; ``index`` says which, so that banks can be read and written."""

    index: Tensor  # int64 [m]
    image: Tensor  # float32 [m, p_image]
    text: Tensor  # float32 [m, p_text]

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class Phase:
    """One sweep of an epoch: which optimisers step, and how rows are drawn."""

    name: str
    optimizers: tuple[str, ...]
    # shuffle: a permutation, every row once; random: each batch a fresh draw without replacement (DCMH's schedule)
    sampler: Literal["shuffle", "random"] = "shuffle"
    drop_last: bool = field(default=False)


class Method(nn.Module):
    """Base of all methods. Buffers and parameters are the whole state, so a checkpoint is a state dict.

    ``forward(batch, phase)`` returns the phase's loss; the trainer owns every loop, optimiser step and file.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    supervision: ClassVar[Literal["none", "labels", "label tree"]]
    options_type: ClassVar[type[Options]]
    presets: ClassVar[dict[str, Preset]]

    image: Tower
    text: Tower

    def __init__(self, train: TrainData, bits: int, options: Any) -> None:
        super().__init__()
        self.bits = bits
        self.options = options

    def phases(self, epoch: int) -> list[Phase]:
        """The phases of an epoch, in order; ``epoch`` counts from 0."""
        raise NotImplementedError

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Named optimisers; `phases` says which of them step."""
        raise NotImplementedError

    def learning_rates(self, epoch: int) -> dict[str, float]:
        """Learning rate of each scheduled optimiser in an epoch; those not named keep theirs."""
        return {}

    def begin_epoch(self, epoch: int) -> None:
        """Set what depends on the epoch alone (schedules), so that a resumed run sets it again."""

    def end_epoch(self, epoch: int) -> None:
        """Update state that moves once an epoch (unified codes, centres)."""
