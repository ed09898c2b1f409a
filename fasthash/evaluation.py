"""A model on a data set -> scores in both directions, from codes made by each modality alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fasthash import metrics
from fasthash._raw_inputs import model_inputs
from fasthash.codes import CodeStats, describe, pack
from fasthash.data import PairedDataset
from fasthash.metrics import GradedScores, Measure, RankingScores, Summary
from fasthash.models import HashModel, QuantizedModel
from fasthash.models.learned import LearnedCodes

DIRECTIONS = ("i2t", "t2i")
DATABASES = ("all", "without_train", "learned")
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

    hamming: ClassVar[bool] = True  # whether distances between codes say who is near

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

    def require_hamming(self, op: str) -> None:
        """ValueError, in one line that starts with ``op``, where distances between codes say nothing."""


@dataclass(frozen=True)
class QuantizedCodes(Codes):
    """Codes of a `QuantizedModel`: items are ranked by inner products of their reconstructions with real queries."""

    hamming: ClassVar[bool] = False

    model: QuantizedModel
    query_vectors: dict[str, NDArray[np.float32]]  # of "image" and "text", [nq, width]

    def scores(self, direction: str) -> Callable[[slice], NDArray[np.float32]]:
        """Of the queries of a slice and all items of the database, float32 [m, nb]."""
        queries, (_, items) = self.query_vectors["image" if direction == "i2t" else "text"], self.pair(direction)
        return lambda rows: self.model.scores(queries[rows], items)

    def require_hamming(self, op: str) -> None:
        self.model.require_hamming(op)


@dataclass(frozen=True)
class Evaluation:
    """Scores by the name of the measure and direction, and the codes they were measured on."""

    data: str
    codes: Codes
    scores: Mapping[str, Mapping[str, RankingScores]]  # none of graded relevance
    relevance: str = "finest"
    graded: dict[str, GradedScores] = field(default_factory=dict)  # nDCG by direction, of graded relevance alone
    database: str = "all"  # of DATABASES; the codes of what was left out are not in `codes`
    # by direction, with all curves; none where graded, nor of rankings by real-valued scores
    summaries: dict[str, Summary] = field(default_factory=dict)

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


def encode(model: HashModel, data: PairedDataset, learned: LearnedCodes | None = None) -> Codes:
    """Codes of the queries and of the database, from the data set's features, or its raw pictures and texts.

    Args:
        learned: codes from training; items of the database that were trained on have these in both modalities.
    """
    if isinstance(model, QuantizedModel):
        return _quantized(model, data)
    query, database = data.split.query, data.split.database
    made = Codes(
        model.bits,
        model.encode_image(model_inputs(model, data, "image", query)),
        model.encode_text(model_inputs(model, data, "text", query)),
        model.encode_image(model_inputs(model, data, "image", database)),
        model.encode_text(model_inputs(model, data, "text", database)),
    )
    return made if learned is None else with_learned(made, data, learned)


def _quantized(model: QuantizedModel, data: PairedDataset) -> QuantizedCodes:
    query, database = data.split.query, data.split.database
    vectors = {
        "image": model.relax_image(model_inputs(model, data, "image", query)),
        "text": model.relax_text(model_inputs(model, data, "text", query)),
    }
    return QuantizedCodes(
        model.bits,
        model.quantize(vectors["image"]),
        model.quantize(vectors["text"]),
        model.encode_image(model_inputs(model, data, "image", database)),
        model.encode_text(model_inputs(model, data, "text", database)),
        model,
        vectors,
    )


def with_learned(codes: Codes, data: PairedDataset, learned: LearnedCodes) -> Codes:
    """The codes with the learned one in place of each database item that was trained on, for both modalities."""
    database = data.split.database
    return replace(
        codes,
        database_image=learned.replace(codes.database_image, database),
        database_text=learned.replace(codes.database_text, database),
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
        database: "all", every item of the split's database; "without_train", those that no model was trained on;
            "learned", every item, and ``codes`` came from `with_learned`.
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
        codes.require_hamming("evaluate: graded relevance")
        assert data.tree is not None
        layers = [[layer.ids[rows] for layer in data.tree.layers] for rows in (query, searched)]
        graded = {d: metrics.ndcg(*codes.pair(d), *layers, bits=codes.bits, no_relevant=rule) for d in DIRECTIONS}
        return Evaluation(data.name, codes, {}, relevance, graded, database)
    labels = relevance_labels(data, relevance)
    if isinstance(codes, QuantizedCodes):
        both = labels[query], labels[searched]
        real = {d: metrics.evaluate_scores(codes.scores(d), *both, measures) for d in DIRECTIONS}
        return Evaluation(data.name, codes, _by_name(real), relevance, {}, database)
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
    scores = _by_name({d: summary.scores for d, summary in found.items()})
    return Evaluation(data.name, codes, scores, relevance, {}, database, found)


def _by_name(found: Mapping[str, Mapping[str, RankingScores]]) -> dict[str, dict[str, RankingScores]]:
    """Measure -> direction -> scores, of direction -> measure -> scores."""
    return {name: {d: found[d][name] for d in DIRECTIONS} for name in found[DIRECTIONS[0]]}


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
    learned: LearnedCodes | None = None,
) -> Evaluation:
    """Encode a data set with a model and score it in both directions; see `score`.

    Args:
        database: "learned": what was trained on is searched by the code that training gave it, one for both modalities,
            as published text to image numbers of factorisation methods are measured; queries are encoded as always.
        learned: those codes, ``run.learned``; for "learned" alone.
    Raises:
        ValueError: as `score`, or "learned" for a method that learns no codes of its own.
    """
    if database == "learned" and learned is None:
        name = model.info.get("method", "the model's method")
        raise ValueError(f"evaluate: database 'learned' needs codes from training, and {name} left none")
    codes = encode(model, data, learned if database == "learned" else None)
    return score(codes, data, protocols, relevance=relevance, database=database, no_relevant=no_relevant)
