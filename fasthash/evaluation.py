"""A model on a data set -> scores in both directions, from codes made by each modality alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash import metrics
from fasthash._raw_inputs import model_inputs
from fasthash.codes import CodeStats, describe, pack
from fasthash.data import PairedDataset
from fasthash.metrics import GradedScores, Measure, Scores, Summary
from fasthash.models import HashModel

DIRECTIONS = ("i2t", "t2i")
DATABASES = ("all", "without_train")
# what `evaluate` computes unless told otherwise
PROTOCOLS = {
    "map_all": Measure("map_all"),
    "map_all_stable": Measure("map_all", "stable"),
    "map_at_50": Measure("map_at_k"),
    "map_at_50_stable": Measure("map_at_k", "stable"),
}
# what it can compute, by name
MEASURES = {**PROTOCOLS, **metrics.MEASURES}


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
    """Scores by the name of the measure and direction, and the codes they were measured on."""

    data: str
    codes: Codes
    scores: dict[str, dict[str, Scores]]  # none of graded relevance
    relevance: str = "finest"
    graded: dict[str, GradedScores] = field(default_factory=dict)  # nDCG by direction, of graded relevance alone
    database: str = "all"  # of DATABASES; the codes of what was left out are not in `codes`
    summaries: dict[str, Summary] = field(default_factory=dict)  # by direction, with all curves; none where graded

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
            "searched": self.database,
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
    codes: Codes,
    data: PairedDataset,
    protocols: Sequence[str] | Mapping[str, Measure] = ("map_all",),
    *,
    relevance: str = "finest",
    database: str = "all",
    no_relevant: str | None = None,
) -> Evaluation:
    """Scores of given codes: every protocol and curve of a direction from one pass over its pairs.

    Args:
        codes: as `encode` or `random_codes` make them.
        data: labelled.
        protocols: names from MEASURES, or name -> `metrics.Measure`, such as ``{"djsrh": papers()["djsrh"].measure}``;
            not used where relevance is graded.
        relevance: of an item to a query: "finest", a common label of the finest layer, which is all there is without a
            label tree; "any", of any layer; "layer:k", of layer k, where 1 is the coarsest; "graded", nDCG by the
            number of layers with a common label, in place of mAP.
        database: "all", every item of the split's database; "without_train", those that no model was trained on.
        no_relevant: "zero" or "skip", as in `metrics.evaluate`, for every measure; None: as each measure says, and
            "zero" for the curves.
    Raises:
        ValueError: an unknown protocol, relevance or database, no labels, no label tree for layers and grades, or no
            item left in the database.
    """
    data.require(labels=True, tree=relevance == "graded" or relevance.startswith("layer:"), op="evaluate")
    measures = _measures(protocols, no_relevant)
    query, searched = data.split.query, data.split.database
    if database not in DATABASES:
        raise ValueError(f"evaluate: database must be one of {', '.join(DATABASES)}, got {database!r}")
    if database == "without_train":
        searched, codes = _without_train(codes, data)
    rule = no_relevant or "zero"
    if relevance == "graded":
        assert data.tree is not None
        layers = [[layer.ids[rows] for layer in data.tree.layers] for rows in (query, searched)]
        graded = {d: metrics.ndcg(*codes.pair(d), *layers, bits=codes.bits, no_relevant=rule) for d in DIRECTIONS}
        return Evaluation(data.name, codes, {}, relevance, graded, database)
    labels = relevance_labels(data, relevance)
    found = {
        direction: metrics.summary(
            *codes.pair(direction),
            labels[query],
            labels[searched],
            bits=codes.bits,
            measures=measures,
            no_relevant=rule,
        )
        for direction in DIRECTIONS
    }
    scores = {name: {d: found[d].scores[name] for d in DIRECTIONS} for name in measures}
    return Evaluation(data.name, codes, scores, relevance, {}, database, found)


def _measures(protocols: Sequence[str] | Mapping[str, Measure], no_relevant: str | None) -> dict[str, Measure]:
    if isinstance(protocols, Mapping):
        found = dict(protocols)
    else:
        for name in protocols:
            if name not in MEASURES:
                raise ValueError(f"evaluate: unknown protocol {name!r}; known: {', '.join(MEASURES)}")
        found = {name: MEASURES[name] for name in protocols}
    if no_relevant is None:
        return found
    return {name: replace(measure, no_relevant=no_relevant) for name, measure in found.items()}


def _without_train(codes: Codes, data: PairedDataset) -> tuple[NDArray[np.int64], Codes]:
    """Rows of the database that are not of the training set, and their codes."""
    kept = ~np.isin(data.split.database, data.split.train)
    if not kept.any():
        raise ValueError(f"evaluate: database 'without_train' is empty, all of {data.name}'s database is trained on")
    sides = {side: getattr(codes, side)[kept] for side in ("database_image", "database_text")}
    return data.split.database[kept], replace(codes, **sides)


def relevance_labels(data: PairedDataset, relevance: str) -> NDArray[Any]:
    """Labels of all rows, of which relevant items share one with the query; ``relevance`` as in `score`, not graded."""
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
    model: HashModel,
    data: PairedDataset,
    protocols: Sequence[str] | Mapping[str, Measure] = tuple(PROTOCOLS),
    *,
    relevance: str = "finest",
    database: str = "all",
    no_relevant: str | None = None,
) -> Evaluation:
    """Encode a data set with a model and score it in both directions; see `score`."""
    codes = encode(model, data)
    return score(codes, data, protocols, relevance=relevance, database=database, no_relevant=no_relevant)
