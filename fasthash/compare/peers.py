"""What learned codes are compared with, as rows of a comparison: floors, closed forms, real-valued references."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fasthash import evaluation
from fasthash.baselines import RidgeLabels, rank_by_cosine
from fasthash.data import PairedDataset
from fasthash.evaluation import Codes

Values = dict[str, dict[str, float]]  # measure -> direction -> value


@dataclass(frozen=True)
class Peer:
    """A row that is fitted at once, without the trainer.

    ``codes`` makes packed codes from (data, bits, seed, options); a peer of real values has ``values`` instead, which
    makes the measures themselves, and no code length.
    """

    name: str
    source: str
    needs_labels: bool
    options: dict[str, float]
    seeded: bool  # whether another seed gives another result
    codes: Callable[[PairedDataset, int, int, dict[str, Any]], Codes] | None = None
    values: Callable[[PairedDataset, dict[str, Any]], Values] | None = None

    def check(self, data: PairedDataset, options: dict[str, Any]) -> None:
        """ValueError when it cannot run on the data."""
        for key in options:
            if key not in self.options:
                raise ValueError(f"{self.name}: unknown option {key!r}; known: {', '.join(self.options) or 'none'}")
        data.require(labels=True, op=self.name)
        if self.name == "random":
            return
        for side in ("image", "text"):
            data.features(side, op=self.name)
        RidgeLabels(**(self.options | options))


def _random(data: PairedDataset, bits: int, seed: int, options: dict[str, Any]) -> Codes:
    return evaluation.random_codes(data, bits, seed)


def _ridge(data: PairedDataset, options: dict[str, Any]) -> Values:
    assert data.labels is not None
    rows, query, database = data.split.train, data.split.query, data.split.database
    given = (data.features(side, op="ridge") for side in ("image", "text"))
    image, text = (RidgeLabels(**options).fit(x[rows], data.labels[rows])(x) for x in given)
    found: Values = {"map_all": {}, "map_at_50": {}}
    for direction, (asks, answers) in zip(evaluation.DIRECTIONS, ((image, text), (text, image)), strict=True):
        k = min(50, len(database))
        real = rank_by_cosine(asks[query], answers[database], data.labels[query], data.labels[database], k=k)
        found["map_all"][direction] = float(real.map_all.mean())
        found["map_at_50"][direction] = float(real.map_at_k.mean())
    return found


PEERS = {
    peer.name: peer
    for peer in (
        Peer("random", "codes that know nothing", False, {}, True, codes=_random),
        Peer(
            "ridge",
            "ridge regression of the labels, cosine of real-valued scores: no code",
            True,
            {"ridge": 0.3},
            False,
            values=_ridge,
        ),
    )
}
