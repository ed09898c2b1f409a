"""What a figure of a report draws: curves and training histories, as read-only float64 series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.report._checks import check_series, check_text, optional_bits, set_values


@dataclass(frozen=True, eq=False)  # arrays do not compare to one truth value
class Curve:
    """A precision-recall curve.

    Args:
        label: name of the line.
        recall, precision: [n] with n >= 1, in 0..1; recall never decreases. Leave out radii that retrieve nothing.
        method, bits: what the line belongs to; `method` (the label when empty) gives the colour, `bits` the panel.
    """

    label: str
    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    method: str = ""
    bits: int | None = None

    def __post_init__(self) -> None:
        set_values(self, label=check_text("Curve", "label", self.label))
        recall = check_series("Curve", "recall", self.recall, shares=True)
        precision = check_series("Curve", "precision", self.precision, shares=True)
        if len(recall) == 0 or len(recall) != len(precision):
            raise ValueError(
                f"Curve: recall and precision must have one length, at least 1, got {len(recall)} and {len(precision)}"
            )
        if np.any(np.diff(recall) < 0):
            raise ValueError(
                f"Curve: recall must never decrease, got {recall[np.argmax(np.diff(recall) < 0) + 1]} after more"
            )
        set_values(self, recall=recall, precision=precision)
        set_values(
            self,
            method=check_text("Curve", "method", self.method, empty=True) or self.label,
            bits=optional_bits(self, self.bits),
        )


@dataclass(frozen=True, eq=False)  # arrays do not compare to one truth value
class History:
    """What happened while one model was trained.

    Args:
        label: name of the run.
        epochs, loss: [n] each; a loss that is not finite is shown as a gap.
        map_epochs, i2t, t2i: [m] each, the epochs that were evaluated and the mAP there, 0 to 1; m may be 0.
        method, bits: as for `Curve`.
    """

    label: str
    epochs: NDArray[np.float64]
    loss: NDArray[np.float64]
    map_epochs: NDArray[np.float64]
    i2t: NDArray[np.float64]
    t2i: NDArray[np.float64]
    method: str = ""
    bits: int | None = None

    def __post_init__(self) -> None:
        set_values(self, label=check_text("History", "label", self.label))
        epochs = check_series("History", "epochs", self.epochs)
        loss = check_series("History", "loss", self.loss, finite=False)
        map_epochs = check_series("History", "map_epochs", self.map_epochs)
        i2t = check_series("History", "i2t", self.i2t, shares=True)
        t2i = check_series("History", "t2i", self.t2i, shares=True)
        if len(epochs) != len(loss):
            raise ValueError(f"History: loss must be [{len(epochs)}] like epochs, got [{len(loss)}]")
        if not len(map_epochs) == len(i2t) == len(t2i):
            raise ValueError(
                f"History: i2t and t2i must be [{len(map_epochs)}] like map_epochs, got [{len(i2t)}] and [{len(t2i)}]"
            )
        set_values(self, epochs=epochs, loss=loss, map_epochs=map_epochs, i2t=i2t, t2i=t2i)
        set_values(
            self,
            method=check_text("History", "method", self.method, empty=True) or self.label,
            bits=optional_bits(self, self.bits),
        )

    @classmethod
    def of_entries(cls, label: str, entries: Sequence[Mapping[str, Any]], method: str, bits: int) -> History:
        """From the entries of a training run's history: the losses of its phases are added up."""
        epochs = [entry["epoch"] for entry in entries]
        losses = [sum(v for k, v in entry.items() if k.startswith("loss_")) for entry in entries]
        scored = [entry for entry in entries if "i2t" in entry]
        map_epochs, i2t, t2i = ([entry[key] for entry in scored] for key in ("epoch", "i2t", "t2i"))
        return cls(label, epochs, losses, map_epochs, i2t, t2i, method, bits)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)  # arrays do not compare to one truth value
class AtRank:
    """A value at each number of items looked at: precision@N, recall@N.

    Args:
        label: name of the line.
        ranks: [n] with n >= 1, numbers of items, ascending, at least 1.
        values: [n] in 0..1.
        method, bits: as for `Curve`.
    """

    label: str
    ranks: NDArray[Any]
    values: NDArray[np.float64]
    method: str = ""
    bits: int | None = None

    def __post_init__(self) -> None:
        set_values(self, label=check_text("AtRank", "label", self.label))
        ranks = check_series("AtRank", "ranks", self.ranks)
        values = check_series("AtRank", "values", self.values, shares=True)
        if len(ranks) == 0 or len(ranks) != len(values):
            raise ValueError(
                f"AtRank: ranks and values must have one length, at least 1, got {len(ranks)} and {len(values)}"
            )
        if ranks[0] < 1 or np.any(np.diff(ranks) <= 0):
            raise ValueError(f"AtRank: ranks must ascend from 1 or more, got {ranks[:3].tolist()} ...")
        method = check_text("AtRank", "method", self.method, empty=True) or self.label
        set_values(self, ranks=ranks, values=values, method=method, bits=optional_bits(self, self.bits))
