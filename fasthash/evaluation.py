"""A model on a data set -> scores in both directions, from codes made by each modality alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash import metrics
from fasthash._raw_inputs import model_inputs
from fasthash.codes import CodeStats, describe, pack
from fasthash.data import PairedDataset
from fasthash.metrics import GradedScores, Scores
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
    scores: dict[str, dict[str, Scores]]  # none of graded relevance
    relevance: str = "finest"
    graded: dict[str, GradedScores] = field(default_factory=dict)  # nDCG by direction, of graded relevance alone

    @property
    def i2t(self) -> float:
        """map_all, tie-expected, image queries against texts; nDCG where relevance is graded."""
        return self.graded["i2t"].value if self.graded else self.scores["map_all"]["i2t"].value

    @property
    def t2i(self) -> float:
        """map_all, tie-expected, text queries against images; nDCG where relevance is graded."""
        return self.graded["t2i"].value if self.graded else self.scores["map_all"]["t2i"].value

    def code_stats(self) -> dict[str, CodeStats]:
        """Balance, distinct codes and entropy of each side's database codes; a collapsed model is called so."""
        bits = self.codes.bits
        return {
            "image": describe(self.codes.database_image, bits),
            "text": describe(self.codes.database_text, bits),
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: values by protocol and direction, sizes, code statistics."""
        graded = {"ndcg": {d: s.value for d, s in self.graded.items()}} if self.graded else {}
        return {
            "data": self.data,
            "bits": self.codes.bits,
            "queries": len(self.codes.query_image),
            "database": len(self.codes.database_image),
            "relevance": self.relevance,
            "map": {name: {d: s.value for d, s in both.items()} for name, both in self.scores.items()},
            **graded,
            "codes": {side: str(stats) for side, stats in self.code_stats().items()},
        }


def encode(model: HashModel, data: PairedDataset) -> Codes:
    """Codes of the queries and of the database, from the data set's features, or its raw pictures and texts."""
    query, database = data.split.query, data.split.database
    return Codes(
        model.bits,
        model.encode_image(model_inputs(model, data, "image", query)),
        model.encode_text(model_inputs(model, data, "text", query)),
        model.encode_image(model_inputs(model, data, "image", database)),
        model.encode_text(model_inputs(model, data, "text", database)),
    )


def random_codes(data: PairedDataset, bits: int, seed: int = 0) -> Codes:
    """Codes that know nothing: the floor under every score."""
    rng = np.random.default_rng(seed)
    sizes = (len(data.split.query),) * 2 + (len(data.split.database),) * 2
    return Codes(bits, *(pack(rng.random((n, bits)) < 0.5) for n in sizes))


def score(
    codes: Codes, data: PairedDataset, protocols: Sequence[str] = ("map_all",), *, relevance: str = "finest"
) -> Evaluation:
    """Scores of given codes.

    Args:
        codes: as `encode` or `random_codes` make them.
        data: labelled.
        protocols: names from PROTOCOLS; not used where relevance is graded.
        relevance: of an item to a query: "finest", a common label of the finest layer, which is all there is without a
            label tree; "any", of any layer; "layer:k", of layer k, where 1 is the coarsest; "graded", nDCG by the
            number of layers with a common label, in place of mAP.
    Raises:
        ValueError: an unknown protocol or relevance, no labels, or no label tree for layers and grades.
    """
    data.require(labels=True, tree=relevance == "graded" or relevance.startswith("layer:"), op="evaluate")
    for name in protocols:
        if name not in PROTOCOLS:
            raise ValueError(f"evaluate: unknown protocol {name!r}; known: {', '.join(PROTOCOLS)}")
    query, database = data.split.query, data.split.database
    if relevance == "graded":
        assert data.tree is not None
        layers = [[layer.ids[rows] for layer in data.tree.layers] for rows in (query, database)]
        graded = {d: metrics.ndcg(*codes.pair(d), *layers, bits=codes.bits) for d in DIRECTIONS}
        return Evaluation(data.name, codes, {}, relevance, graded)
    labels = _labels(data, relevance)
    scores: dict[str, dict[str, Scores]] = {}
    for name in protocols:
        protocol, ties = PROTOCOLS[name]
        scores[name] = {
            direction: metrics.evaluate(
                *codes.pair(direction), labels[query], labels[database], bits=codes.bits, protocol=protocol, ties=ties
            )
            for direction in DIRECTIONS
        }
    return Evaluation(data.name, codes, scores, relevance)


def _labels(data: PairedDataset, relevance: str) -> NDArray[Any]:
    """Labels of all rows, of which relevant items share one with the query."""
    assert data.labels is not None
    layers = () if data.tree is None else data.tree.layers
    known = ["finest", "any", *(f"layer:{k + 1}" for k in range(len(layers))), "graded"]
    if relevance not in known:
        raise ValueError(f"evaluate: relevance must be one of {', '.join(known)}, got {relevance!r}")
    if relevance.startswith("layer:"):
        return layers[int(relevance.removeprefix("layer:")) - 1].ids
    if relevance == "any" and layers:
        return np.hstack([layer.one_hot for layer in layers])
    return data.labels


def evaluate(
    model: HashModel, data: PairedDataset, protocols: Sequence[str] = tuple(PROTOCOLS), *, relevance: str = "finest"
) -> Evaluation:
    """Encode a data set with a model and score it in both directions; see `score`."""
    return score(encode(model, data), data, protocols, relevance=relevance)
