"""Codes and labels, out of files or from a model, -> every measure that they allow."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash import metrics
from fasthash.codes import CodeStats, describe, opposed_bits
from fasthash.data import PairedDataset
from fasthash.evaluation import DATABASES, PROTOCOLS, encode, relevance_labels
from fasthash.features.array_files import FileArray, read
from fasthash.metrics import Measure, Scores
from fasthash.models import HashModel
from fasthash.models.learned import LearnedCodes
from fasthash.scoring._forms import OP, Codes, to_codes, to_labels
from fasthash.scoring._found import CodeScores, Direction
from fasthash.scoring._sources import CODES, LABELS, PAIRS, ROLES, directions

Array = NDArray[Any]


@dataclass(frozen=True)
class Wanted:
    """What is measured.

    Args:
        measures: name -> a way to measure mAP.
        radius: of the hash lookup.
        no_relevant: "zero" or "skip", of lookup and nDCG; each measure has its own.
        level: of bootstrap intervals for the mAPs, such as 0.95; None: none. A mAP that is no mean over certain queries
            has none: map_at_k_hitonly, where ties leave open whether a query has a hit.
        relevance: of a data set with a label tree: "finest", "any" or "layer:k"; nDCG is by all its layers.
        database: "all"; "without_train", where a data set says which rows were trained on; "learned", of a model whose
            training left codes: its training pairs are searched by those.
    """

    measures: Mapping[str, Measure] | None = None  # None: map_all and mAP of the first 50, ties expected and stable
    radius: int = 2
    no_relevant: str = "zero"
    level: float | None = None
    relevance: str = "finest"
    database: str = "all"


@dataclass(frozen=True)
class _Truth:
    """Labels of queries and database.

    Args:
        layers: those of each layer, coarse to fine, where there is a label tree.
        kept: which rows of the database are searched; None for all. The labels are of these.
    """

    query: Array
    database: Array
    layers: tuple[list[Array], list[Array]] | None = None
    kept: NDArray[np.bool_] | None = None


def score_files(
    sources: Mapping[str, str | os.PathLike[str]],
    *,
    data: PairedDataset | None = None,
    bits: int | None = None,
    form: str | None = None,
    label_form: str | None = None,
    wanted: Wanted | None = None,
    threads: int | None = None,
) -> CodeScores:
    """Scores of anybody's codes.

    Args:
        sources: role (`ROLES`) -> file, or FILE:NAME for an array of a file of several; .npy, .npz, .mat, .safetensors.
        data: the data set whose labels and split hold; the files then have a row for each of its queries and database
            items in the order of the split, or (roles "image" and "text") for each of its pairs.
        bits: code length; needed where it does not follow from the width (packed codes of 12 bits).
        form, label_form: what the files hold, of `FORMS` and of `LABEL_FORMS`; default: by the rules in
            `fasthash.scoring._forms`.
        wanted: what to measure; default: `Wanted()`.
        threads: None for all cores.
    Raises:
        FileNotFoundError, ValueError, TypeError: one line that says which file, what was expected and what came.
        RuntimeError: a package that reads such a file is missing.
    """
    wanted = wanted or Wanted()
    for role in sources:
        if role not in ROLES:
            raise ValueError(f"{OP}: roles must be of {', '.join(ROLES)}, got {role!r}")
    if data is None and (wanted.relevance, wanted.database) != ("finest", "all"):
        raise ValueError(f"{OP}: relevance and database are of a data set, none is named")
    if data is not None and label_form is not None:
        raise ValueError(f"{OP}: label form is of labels out of files, got the data set {data.name}")
    if wanted.database == "learned":
        raise ValueError(f"{OP}: database 'learned' is of a run; codes out of files are searched as they are")
    pairs = directions(sources, None if data is None else data.name)
    files = {role: read(where, f"{OP}: {role}") for role, where in sources.items()}
    coded, length = to_codes({role: files[role].values for role in sources if role in CODES}, bits, form)
    _check_rows(coded, pairs, data)
    packed = {name: _pair(coded, roles, data) for name, roles in pairs.items()}
    truth = _file_truth(files, packed, label_form) if data is None else _data_truth(data, wanted)
    stats = {role: describe(codes.packed, length) for role, codes in coded.items()}
    return CodeScores(
        **_about(truth, data, wanted),
        bits=length,
        directions=_directions(packed, pairs, stats, truth, wanted, threads),
        codes=stats,
        files=files,
        read_as={role: coded[role].words for role in coded} | _label_words(truth, files),
    )


def score_model(
    model: HashModel,
    data: PairedDataset,
    *,
    wanted: Wanted | None = None,
    threads: int | None = None,
    learned: LearnedCodes | None = None,
) -> CodeScores:
    """Scores of a model's codes of a data set; arguments as in `score_files`.

    Args:
        learned: codes that its training left, for the database "learned".
    Raises:
        ValueError: the database "learned" without such codes.
    """
    wanted = wanted or Wanted()
    truth = _data_truth(data, wanted)
    if wanted.database == "learned" and learned is None:
        name = model.info.get("method", "the model's method")
        raise ValueError(f"{OP}: database 'learned' needs codes from training, and {name} left none")
    model.require_hamming(OP)
    codes = encode(model, data, learned if wanted.database == "learned" else None)
    pairs = {name: PAIRS[name] for name in ("i2t", "t2i")}
    stats = {role: describe(getattr(codes, role), codes.bits) for roles in pairs.values() for role in roles}
    packed = {name: codes.pair(name) for name in pairs}
    return CodeScores(
        **_about(truth, data, wanted),
        bits=codes.bits,
        directions=_directions(packed, pairs, stats, truth, wanted, threads),
        codes=stats,
    )


def _about(truth: _Truth, data: PairedDataset | None, wanted: Wanted) -> dict[str, Any]:
    """The fields of `CodeScores` that say what was scored."""
    return {
        "nq": len(truth.query),
        "nb": len(truth.database),
        "data": None if data is None else f"{data.name} (checksum {data.checksum()})",
        "relevance": None if data is None else wanted.relevance,
        "searched": wanted.database,
    }


def _check_rows(coded: Mapping[str, Codes], pairs: Mapping[str, tuple[str, str]], data: PairedDataset | None) -> None:
    """ValueError unless all queries are as many, and all items of the database, and as many as the data set's."""
    for place, part in enumerate(("query", "database")):
        roles = [roles[place] for roles in pairs.values()]
        rows, like = len(coded[roles[0]].packed), roles[0]
        if data is not None:
            whole = roles[0] in ("image", "text")
            rows = len(data) if whole else len(getattr(data.split, part))
            like = f"the pairs of {data.name}" if whole else f"the {part} rows of {data.name}"
        for role in roles:
            if len(coded[role].packed) != rows:
                raise ValueError(f"{OP}: {role} must have {rows} rows like {like}, got {len(coded[role].packed)}")


def _pair(coded: Mapping[str, Codes], roles: tuple[str, str], data: PairedDataset | None) -> tuple[Array, Array]:
    """Packed codes of queries and database."""
    query, database = (coded[role].packed for role in roles)
    if data is not None and roles[0] in ("image", "text"):
        return query[data.split.query], database[data.split.database]
    return query, database


def _file_truth(files: Mapping[str, FileArray], packed: Mapping[str, tuple[Array, Array]], form: str | None) -> _Truth:
    sizes = [len(codes) for codes in next(iter(packed.values()))]
    query, database = (to_labels(files[role].values, n, role, form) for role, n in zip(LABELS, sizes, strict=True))
    if query.ndim != database.ndim:
        ids, other = ("query", "database") if query.ndim == 1 else ("database", "query")
        raise ValueError(f"{OP}: labels must be of one form, got class ids of the {ids} and multi-hot of the {other}")
    return _Truth(query, database)


def _data_truth(data: PairedDataset, wanted: Wanted) -> _Truth:
    """Labels of the split, of those rows of its database that are searched."""
    data.require(labels=True, op=OP)
    if wanted.relevance == "graded":
        raise ValueError(f"{OP}: relevance must be finest, any or layer:k; nDCG is graded by the layers in any case")
    if wanted.database not in DATABASES:
        raise ValueError(f"{OP}: database must be one of {', '.join(DATABASES)}, got {wanted.database!r}")
    query, database, kept = data.split.query, data.split.database, None
    if wanted.database == "without_train":
        kept = ~np.isin(database, data.split.train)
        if not kept.any():
            raise ValueError(f"{OP}: all of the database of {data.name} is trained on, nothing is left of it")
        database = database[kept]
    labels = relevance_labels(data, wanted.relevance)
    layers = None
    if data.tree is not None and len(data.tree) > 1:
        of_query, of_database = ([layer.ids[rows] for layer in data.tree.layers] for rows in (query, database))
        layers = of_query, of_database
    return _Truth(labels[query], labels[database], layers, kept)


def _label_words(truth: _Truth, files: Mapping[str, FileArray]) -> dict[str, str]:
    """How the labels out of files were read."""
    said = "class ids" if truth.query.ndim == 1 else f"multi-hot of {truth.query.shape[1]} classes"
    return {role: said for role in LABELS if role in files}


def _directions(
    packed: Mapping[str, tuple[Array, Array]],
    pairs: Mapping[str, tuple[str, str]],
    stats: Mapping[str, CodeStats],
    truth: _Truth,
    wanted: Wanted,
    threads: int | None,
) -> dict[str, Direction]:
    """What is measured in each direction."""
    found = {}
    for name, (query, database) in packed.items():
        a, b = (stats[role] for role in pairs[name])
        searched = database if truth.kept is None else database[truth.kept]
        found[name] = _direction(query, searched, truth, a.bits, opposed_bits(a, b), wanted, threads)
    return found


def _direction(
    query: Array, database: Array, truth: _Truth, bits: int, opposed: int, wanted: Wanted, threads: int | None
) -> Direction:
    measures = PROTOCOLS if wanted.measures is None else wanted.measures
    found = metrics.summary(
        query, database, truth.query, truth.database, bits=bits, measures=measures, radius=wanted.radius,
        graded=truth.layers is None, no_relevant=wanted.no_relevant, threads=threads,
    )  # fmt: skip
    ndcg = found.ndcg
    if truth.layers is not None:
        ndcg = metrics.ndcg(
            query, database, *truth.layers, bits=bits, no_relevant=wanted.no_relevant, threads=threads
        )  # fmt: skip
    assert ndcg is not None
    intervals = {}
    if wanted.level is not None:
        intervals = {
            name: metrics.bootstrap(score.per_query[score.counted], level=wanted.level)
            for name, score in found.scores.items()
            if _is_mean(score)
        }
    return Direction(found, ndcg, metrics.separation(found.histograms), opposed, intervals)


def _is_mean(score: Scores) -> bool:
    """Whether the value is the mean of some queries' AP, so that drawing queries says how sure it is."""
    values = score.per_query[score.counted]
    return bool(len(values)) and bool(np.isclose(values.mean(), score.value, rtol=1e-9, atol=1e-12))
