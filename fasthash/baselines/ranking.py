"""Rankings by real-valued scores under the protocols that codes are measured by, equal scores in expectation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fasthash.baselines._linear import Floats, check_features
from fasthash.metrics import Measure, evaluate_scores

DECIMALS = 10  # cosines that agree so far are equal: rows that are alike may differ in the last bits of a product


@dataclass(frozen=True, eq=False)
class RealScores:
    """AP of each query: over the whole database, and within the first k ranks."""

    map_all: Floats  # [nq]
    map_at_k: Floats  # [nq]
    k: int


def rank_by_cosine(query: Any, database: Any, query_labels: Any, database_labels: Any, *, k: int = 50) -> RealScores:
    """Rank a database by the cosine to each query, the highest first.

    Args:
        query, database: real vectors [nq, d] and [nb, d]; a vector of zeros has cosine 0 to everything.
        query_labels, database_labels: multi-hot [nq, c] and [nb, c]; relevant is what shares a label.
        k: the cut of map_at_k, 1 to nb.
    Memory: a block of queries times the database.
    """
    q, items = (_unit(check_features(x, "rank_by_cosine", n)) for x, n in ((query, "query"), (database, "database")))
    labels_q, labels_d = np.asarray(query_labels), np.asarray(database_labels)
    if q.shape[1] != items.shape[1] or len(labels_q) != len(q) or len(labels_d) != len(items):
        shapes = ", ".join(str(x.shape) for x in (q, items, labels_q, labels_d))
        raise ValueError(f"rank_by_cosine: query, database and their labels must fit each other, got shapes {shapes}")
    if not 1 <= k <= len(items):
        raise ValueError(f"rank_by_cosine: k must be from 1 to {len(items)}, got {k}")
    found = evaluate_scores(
        lambda rows: np.round(q[rows] @ items.T, DECIMALS),
        labels_q,
        labels_d,
        {"map_all": Measure("map_all"), "map_at_k": Measure("map_at_k", k=k)},
    )
    return RealScores(found["map_all"].per_query, found["map_at_k"].per_query, k)


def _unit(rows: Floats) -> Floats:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norm > 1e-12, norm, 1.0))
