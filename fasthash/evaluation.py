"""A model on a data set -> scores in both directions, from codes made by each modality alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash import metrics
from fasthash.codes import CodeStats, describe, pack
from fasthash.data import PairedDataset
from fasthash.metrics import Scores
from fasthash.models import HashModel

DIRECTIONS = ("i2t", "t2i")
# name -> (protocol, ties): what `evaluate` computes unless told otherwise
PROTOCOLS = {
    "map_all": ("map_all", "expected"),
    "map_all_stable": ("map_all", "stable"),
    "map_at_50": ("map_at_k", "expected"),
    "map_at_50_stable": ("map_at_k", "stable"),
}


@dataclass(frozen=True)
class Codes:
    """Packed codes of a data set's queries and database, each row encoded from one modality alone."""

    bits: int
    query_image: NDArray[np.uint8]
    query_text: NDArray[np.uint8]
    database_image: NDArray[np.uint8]
    database_text: NDArray[np.uint8]

    def pair(self, direction: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """(queries, database) of i2t, image queries against text codes, or t2i, the other way round."""
        if direction == "i2t":
            return self.query_image, self.database_text
        return self.query_text, self.database_image


@dataclass(frozen=True)
class Evaluation:
    """Scores by protocol name and direction, and the codes they were measured on."""

    data: str
    codes: Codes
    scores: dict[str, dict[str, Scores]]

    @property
    def i2t(self) -> float:
        """map_all, tie-expected, image queries against texts."""
        return self.scores["map_all"]["i2t"].value

    @property
    def t2i(self) -> float:
        """map_all, tie-expected, text queries against images."""
        return self.scores["map_all"]["t2i"].value

    def code_stats(self) -> dict[str, CodeStats]:
        """Balance, distinct codes and entropy of each side's database codes; a collapsed model is called so."""
        bits = self.codes.bits
        return {
            "image": describe(self.codes.database_image, bits),
            "text": describe(self.codes.database_text, bits),
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: values by protocol and direction, sizes, code statistics."""
        return {
            "data": self.data,
            "bits": self.codes.bits,
            "queries": len(self.codes.query_image),
            "database": len(self.codes.database_image),
            "map": {name: {d: s.value for d, s in both.items()} for name, both in self.scores.items()},
            "codes": {side: str(stats) for side, stats in self.code_stats().items()},
        }


def encode(model: HashModel, data: PairedDataset) -> Codes:
    """Codes of the queries and of the database, from the data set's features."""
    query, database = data.split.query, data.split.database
    return Codes(
        model.bits,
        model.encode_image(data.image[query]),
        model.encode_text(data.text[query]),
        model.encode_image(data.image[database]),
        model.encode_text(data.text[database]),
    )


def random_codes(data: PairedDataset, bits: int, seed: int = 0) -> Codes:
    """Codes that know nothing: the floor under every score."""
    rng = np.random.default_rng(seed)
    sizes = (len(data.split.query),) * 2 + (len(data.split.database),) * 2
    return Codes(bits, *(pack(rng.random((n, bits)) < 0.5) for n in sizes))


def score(codes: Codes, data: PairedDataset, protocols: Sequence[str] = ("map_all",)) -> Evaluation:
    """Scores of given codes.

    Args:
        codes: as `encode` or `random_codes` make them.
        data: labelled; relevance is at least one common label of the finest layer.
        protocols: names from PROTOCOLS.
    """
    data.require(labels=True, op="evaluate")
    assert data.labels is not None
    query_labels, database_labels = data.labels[data.split.query], data.labels[data.split.database]
    scores: dict[str, dict[str, Scores]] = {}
    for name in protocols:
        if name not in PROTOCOLS:
            raise ValueError(f"evaluate: unknown protocol {name!r}; known: {', '.join(PROTOCOLS)}")
        protocol, ties = PROTOCOLS[name]
        scores[name] = {
            direction: metrics.evaluate(
                *codes.pair(direction), query_labels, database_labels, bits=codes.bits, protocol=protocol, ties=ties
            )
            for direction in DIRECTIONS
        }
    return Evaluation(data.name, codes, scores)


def evaluate(model: HashModel, data: PairedDataset, protocols: Sequence[str] = tuple(PROTOCOLS)) -> Evaluation:
    """Encode a data set with a model and score it in both directions."""
    return score(encode(model, data), data, protocols)
