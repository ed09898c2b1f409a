"""Rankings by real-valued scores under the protocols that codes are measured by, equal scores in expectation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.baselines._linear import Floats, check_features
from fasthash.metrics import Histograms
from fasthash.metrics._buckets import precision_sums
from fasthash.metrics._expected import precision_per_hit

BLOCK = 1 << 19  # pairs of a query and an item looked at together
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
    labels_q, labels_d = np.asarray(query_labels, np.float32), np.asarray(database_labels, np.float32)
    if q.shape[1] != items.shape[1] or len(labels_q) != len(q) or len(labels_d) != len(items):
        shapes = ", ".join(str(x.shape) for x in (q, items, labels_q, labels_d))
        raise ValueError(f"rank_by_cosine: query, database and their labels must fit each other, got shapes {shapes}")
    if not 1 <= k <= len(items):
        raise ValueError(f"rank_by_cosine: k must be from 1 to {len(items)}, got {k}")
    step = max(1, BLOCK // len(items))
    parts = []
    for start in range(0, len(q), step):
        rows = slice(start, start + step)
        relevant = labels_q[rows] @ labels_d.T > 0.5
        parts.append(_average_precisions(_buckets(q[rows] @ items.T, relevant), k))
    over_all, within = (np.concatenate(values) for values in zip(*parts, strict=True))
    return RealScores(over_all, within, k)


def _unit(rows: Floats) -> Floats:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norm > 1e-12, norm, 1.0))


def _buckets(cosines: Floats, relevant: NDArray[np.bool_]) -> Histograms:
    """Groups of equal cosines, the highest first, in the place of Hamming distances."""
    cosines = np.round(cosines, DECIMALS)
    order = np.argsort(-cosines, axis=1, kind="stable")
    ranked = np.take_along_axis(cosines, order, axis=1)
    found = np.take_along_axis(relevant, order, axis=1)
    group = np.zeros(ranked.shape, np.int64)
    group[:, 1:] = np.cumsum(ranked[:, 1:] != ranked[:, :-1], axis=1)
    nq, nb = ranked.shape
    flat = (group + nb * np.arange(nq)[:, None]).ravel()
    counts = np.bincount(flat, minlength=nq * nb).reshape(nq, nb)
    hits = np.bincount(flat[found.ravel()], minlength=nq * nb).reshape(nq, nb)
    return Histograms(counts, hits)


def _average_precisions(histograms: Histograms, k: int) -> tuple[Floats, Floats]:
    total = histograms.total_relevant
    over_all = precision_sums(histograms, np.full(histograms.nq, histograms.nb), "expected") / np.maximum(total, 1)
    return over_all, precision_per_hit(histograms, k)[0]
