"""What a method is to the trainer: networks, phases, named losses, and state that is kept between steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from fasthash.losses import Shard
from fasthash.models import FeatureRows, HashModel, Rows, Tower

Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Widths = tuple[Annotated[int, Field(ge=1)], ...]  # of hidden layers; () is none
SIDES = ("image", "text")
Outputs = dict[str, Tensor]  # what the networks make of a batch; each [m, ...], in the order of the batch


class Settings(BaseModel):
    """A method's hyper-parameters: the paper's values as defaults; unknown names and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Options(Settings):
    """Hyper-parameters of a method that is trained in batches."""

    epochs: int
    batch_size: int
    # features: the data set's. Else a network on the raw pictures or texts, trained along: alexnet, vgg_f, imagenet or
    # clip:NAME (a name or a folder) on pictures, clip:NAME on texts
    image_backbone: str = "features"
    text_backbone: str = "features"
    image_weights: str | None = None  # file of alexnet's or vgg_f's weights; random: from nothing
    # official: CLIP's queries and database are squeezed to a square, as in the released codes built on it; the
    # training pictures are scaled and cut all the same
    image_transform: Literal["consistent", "official"] = "consistent"
    backbone_scale: Weight = 1.0  # learning rate of a fine-tuned backbone as a multiple of its tower's; 0 freezes it


@dataclass(frozen=True)
class Preset:
    """Options that fit one data set, and where they come from."""

    source: str
    values: dict[str, Any]


class TrainData:
    """The training rows on the training device; row i of every field is the same pair.

    Args:
        image, text: rows of each modality; a float32 tensor [n, p] is dense features.
        labels: uint8 multi-hot [n, c]; None for methods that take no labels.
        layers: of a label tree, coarse to fine: uint8 multi-hot [n, c_k] each.
        image_local: float [n, r, p] features of picture regions, where the data has them.
        text_local: float [n, t, p] features of words, zero rows behind the last one, where the data has them.
        shard: the rows that this process keeps code banks of; default all.
    """

    def __init__(
        self,
        image: Rows | Tensor,
        text: Rows | Tensor,
        labels: Tensor | None = None,
        layers: tuple[Tensor, ...] = (),
        image_local: Tensor | None = None,
        text_local: Tensor | None = None,
        shard: Shard | None = None,
    ) -> None:
        self.image = FeatureRows(image) if isinstance(image, Tensor) else image
        self.text = FeatureRows(text) if isinstance(text, Tensor) else text
        self.labels, self.layers = labels, layers
        self.image_local, self.text_local = image_local, text_local
        self._shard = shard

    def __len__(self) -> int:
        return len(self.image)

    @property
    def shard(self) -> Shard:
        return Shard(len(self)) if self._shard is None else self._shard

    def begin_epoch(self, epoch: int) -> None:
        """Augmented pictures look different from here on; the same at every run of this epoch."""
        self._tell("begin_epoch", epoch)

    def announce(self, index: Tensor, reads: tuple[str, ...] = SIDES) -> None:
        """Rows that a coming `batch` will ask for: pictures are made of them meanwhile."""
        self._tell("announce", index, reads)

    def _tell(self, what: str, value: Any, sides: tuple[str, ...] = SIDES) -> None:
        for rows in (getattr(self, side) for side in sides):
            if hasattr(rows, what):
                getattr(rows, what)(value)

    def batch(self, index: Tensor, reads: tuple[str, ...] = SIDES, host: Tensor | None = None) -> Batch:
        """The rows of a batch, None for a side that is not read.

        Args:
            index: int64 [m] on the training device.
            host: the same on the CPU, for sides that are made there: so that they need not wait for the device.
        """
        given = {side: getattr(self, side) for side in SIDES}
        here = index if host is None else host
        sides = [
            rows.take(here if hasattr(rows, "takes_host") else index) if side in reads else None
            for side, rows in given.items()
        ]
        local = [None if x is None else x.index_select(0, index) for x in (self.image_local, self.text_local)]
        return Batch(index, *sides, *local)


@dataclass  # not frozen: Fabric rebuilds it when it converts inputs for a precision
class Batch:
    """Some training rows; ``index`` says which, so that labels and banks can be read."""

    index: Tensor  # int64 [m]
    image: Any  # what the image tower takes: float32 [m, p_image] in feature mode
    text: Any
    image_local: Tensor | None = None
    text_local: Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class Phase:
    """One sweep of an epoch: which optimisers step, how rows are drawn, and when the sweep is left out."""

    name: str
    optimizers: tuple[str, ...]
    # shuffle: a permutation, every row once; random: each batch a fresh draw without replacement (DCMH's schedule)
    sampler: Literal["shuffle", "random"] = "shuffle"
    drop_last: bool = False
    lr: float | None = None  # learning rate of its optimisers in this phase; None: that of `learning_rates`
    clip_norm: float | None = None  # gradients of each optimiser are scaled down to this total norm
    before: Phase | None = None  # a step of this phase on the same rows goes before each step (discriminators)
    group: str | None = None  # of an epoch's phases in one group, those after a rise of the mean loss are left out
    reads: tuple[str, ...] = SIDES  # sides whose rows its networks look at: no pictures are made for the others


class Method(nn.Module):
    """Base of all methods. Buffers and parameters are the whole state, so a checkpoint is a state dict.

    A step is ``loss(encode(batch, phase), index, phase)``. The trainer owns every loop, optimiser step and file, and
    may call ``encode`` in parts (gradient accumulation) and on several processes: ``loss`` always sees the outputs of
    the whole batch, so that losses over pairs and banks mean the same in all of these.

    With several processes a bank keeps the rows of ``train.shard`` alone, and a term that is computed of them is this
    process's share: the mean over the processes is the whole batch's term (`losses.CodeBank.pairs` sees to it). A term
    of the batch alone is the same on all of them.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    supervision: ClassVar[Literal["none", "labels", "label tree"]]
    options_type: ClassVar[type[Options]]
    presets: ClassVar[dict[str, Preset]]
    model_type: ClassVar[type[HashModel]] = HashModel  # what is made of its encoders and `model_parts`
    learns_codes: ClassVar[bool] = False  # whether `learned_codes` gives any
    takes_local: ClassVar[bool] = False  # whether features of regions and words are taken, where the data has them
    row_buffers: ClassVar[tuple[str, ...]] = ()  # buffers of its own that hold the rows of ``shard`` alone

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
        """Named optimisers; `phases` says which of them step.

        A parameter group may hold "lr_scale": its learning rate as a multiple of the optimiser's.
        """
        raise NotImplementedError

    def learning_rates(self, epoch: int) -> dict[str, float]:
        """Learning rate of each scheduled optimiser in an epoch; those not named keep theirs."""
        return {}

    def begin_epoch(self, epoch: int) -> None:
        """Set what depends on the epoch alone (schedules), so that a resumed run sets it again."""

    def end_epoch(self, epoch: int) -> None:
        """Update state that moves once an epoch (unified codes, centres)."""

    def model_parts(self) -> dict[str, Any]:
        """What its model has beside the encoders: keywords of ``model_type``."""
        return {}

    def learned_codes(self) -> Tensor | None:
        """Codes [n, bits] that the training pairs got in training, beside those of their modalities' networks.

        Their signs count. None where a method has none; asked for after the last epoch. Those of ``train.shard``, where
        the method keeps no others.
        """
        return None

    def encode(self, batch: Batch, phase: str) -> Outputs:
        """The networks of a phase on some rows; under autocast where the precision is mixed."""
        raise NotImplementedError

    def loss(self, outputs: Outputs, index: Tensor, phase: str) -> dict[str, Tensor]:
        """Weighted terms of a phase's loss, which is their sum; also writes the banks.

        Args:
            outputs: of `encode` for the rows ``index`` int64 [m] of the whole batch, in float32.
        """
        raise NotImplementedError

    def forward(self, batch: Batch, phase: str) -> Tensor:
        """The phase's loss on a batch in one piece."""
        terms = self.loss(self.encode(batch, phase), batch.index, phase)
        return torch.stack(tuple(terms.values())).sum()
