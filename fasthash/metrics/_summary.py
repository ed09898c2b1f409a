"""Everything at once: all metrics of one pair of query and database codes from a single pass."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fasthash import _native
from fasthash._arguments import whole_number
from fasthash.metrics._curves import (
    Lookup,
    PRCurve,
    RadiusCurve,
    RankCurve,
    check_ranks,
    check_within,
    counted_rows,
    lookup_within,
    pr_curve,
    radius_curve,
    rank_curve_of,
    usual_ranks,
)
from fasthash.metrics._graded import GradedScores, graded_scores
from fasthash.metrics._histograms import (
    Histograms,
    Inputs,
    checked_evaluation,
    count_pairs,
    counts_itself,
    inputs_of,
)
from fasthash.metrics._protocols import MEASURES, Measure, check_no_relevant, check_ties
from fasthash.metrics._rankings import Rankings
from fasthash.metrics._scores import Scores, scores_of


@dataclass(frozen=True)
class Summary:
    """Result of `summary`."""

    scores: dict[str, Scores]  # by the names of the measures
    pr: PRCurve  # by radius, pooled
    by_radius: RadiusCurve  # averaged over the queries
    by_rank: dict[str, RankCurve]  # rule for ties -> precision and recall of the n nearest
    lookup: Lookup  # within the radius asked for
    ndcg: GradedScores | None  # by the number of common labels; None unless asked for
    no_relevant: str  # of all but the scores, each of which has its own
    histograms: Histograms

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: all but the values of single queries."""
        some = next(iter(self.scores.values()), None)
        counted = {} if some is None else {"queries_without_relevant": some.queries_without_relevant}
        return {
            "queries": self.histograms.nq,
            "database": self.histograms.nb,
            "bits": self.histograms.bits,
            "no_relevant": self.no_relevant,
            **counted,
            "map": {
                name: {
                    "value": score.value, "protocol": score.protocol, "ties": score.ties, "k": score.k,
                    "no_relevant": score.no_relevant, "queries": int(score.counted.sum()),
                }
                for name, score in self.scores.items()
            },
            "lookup": vars(self.lookup),
            "area": self.pr.area,
            "pr": {name: getattr(self.pr, name).tolist() for name in ("radius", "precision", "recall")},
            "by_radius": {name: values.tolist() for name, values in vars(self.by_radius).items()},
            "by_rank": {
                ties: {name: getattr(curve, name).tolist() for name in ("n", "precision", "recall")}
                for ties, curve in self.by_rank.items()
            },
            "ndcg": None if self.ndcg is None else {"value": self.ndcg.value, "k": self.ndcg.k},
        }  # fmt: skip

    def __str__(self) -> str:
        found = self.histograms
        lines = [f"{found.nq:,} queries x {found.nb:,} items, {found.bits} bits"]
        lines += [f"{name}: {score.value:.4f}" for name, score in self.scores.items()]
        lines.append(f"precision within radius {self.lookup.radius}: {self.lookup.precision:.4f}")
        lines.append(f"area under the precision-recall curve: {self.pr.area:.4f}")
        if self.ndcg is not None:
            lines.append(str(self.ndcg))
        return "\n".join(lines)


def summary(
    query: Any,
    database: Any,
    query_labels: Any,
    database_labels: Any,
    *,
    bits: int,
    measures: Mapping[str, Measure] = MEASURES,
    n: Sequence[int] | None = None,
    ties: Sequence[str] = ("expected",),
    radius: int = 2,
    graded: bool = False,
    gains: str | Sequence[float] = "exponential",
    graded_k: int | None = None,
    no_relevant: str = "zero",
    threads: int | None = None,
) -> Summary:
    """Every metric at once, from one pass for the histograms and, where stable values are asked for, one more.

    Args:
        query, database, query_labels, database_labels, bits, threads: as in `evaluate`.
        measures: name -> a way to measure mAP; `MEASURES`, each protocol with expected ties, when left out. Those of
            papers: ``{name: paper.measure for name, paper in papers().items()}``.
        n: numbers of nearest items for the curves by rank, each from 1 to nb; None: about 60 up to nb.
        ties: rules of `TIES` for the curves by rank.
        radius: of the lookup.
        graded: also nDCG by the number of common labels, with `gains` and the cut `graded_k` of `ndcg`.
        no_relevant: of the curves, the lookup and nDCG: "zero" or "skip", as in `evaluate`.
    Raises:
        ValueError, TypeError: one line that names the argument, what was expected and what came.
    Memory: some arrays [nq, bits + 1]; never a matrix of nq x nb, never a sort.
    """
    op = "summary"
    for name, measure in measures.items():
        if not isinstance(measure, Measure):
            raise TypeError(f"{op}: measures must be of type Measure, got {type(measure).__name__} for {name!r}")
    for rule in ties:
        check_ties(rule, op)
    check_no_relevant(no_relevant, op)
    ranks = None if n is None else check_ranks(n, op)
    cut = None if graded_k is None else whole_number(graded_k, 1, sys.maxsize, op, "graded_k")
    sets = query, database, query_labels, database_labels
    ndcg = None
    if graded:
        inputs, ndcg = _graded(sets, bits, gains, cut, no_relevant, threads)
    else:
        ordered = "stable" in ties or any(measure.ties == "stable" for measure in measures.values())
        inputs = count_pairs(*sets, bits=bits, threads=threads, op=op, ordered=ordered)
    found = inputs.histograms
    ranks = usual_ranks(found.nb) if ranks is None else ranks
    check_within(ranks, found.nb, op)
    rankings = Rankings(inputs, measures.values(), ranks if "stable" in ties else ())
    curves = {rule: counted_rows(found, rule) for rule in ("zero", "skip")}
    pr = {rule: pr_curve(found.rows(rows)) for rule, rows in curves.items()}
    kept = found.rows(curves[no_relevant])
    return Summary(
        scores={name: scores_of(inputs, rankings, m, pr[m.no_relevant]) for name, m in measures.items()},
        pr=pr[no_relevant],
        by_radius=radius_curve(kept),
        by_rank={rule: rank_curve_of(rankings, ranks, rule, curves[no_relevant]) for rule in ties},
        lookup=lookup_within(kept, radius, op),
        ndcg=ndcg,
        no_relevant=no_relevant,
        histograms=found,
    )


def _graded(
    sets: tuple[Any, Any, Any, Any], bits: int, gains: str | Sequence[float], k: int | None, no_relevant: str,
    threads: int | None,
) -> tuple[Inputs, GradedScores]:  # fmt: skip
    """Inputs and nDCG from one pass, which is made on the host."""
    if any(isinstance(labels, (list, tuple)) for labels in sets[2:]):
        raise TypeError("summary: labels must be arrays; layers are graded by ndcg")
    evaluation = checked_evaluation(*map(_on_host, sets), bits=bits, threads=threads, op="summary")
    histograms, ndcg = graded_scores(evaluation, gains, k, no_relevant, "summary")
    return inputs_of(evaluation, histograms, (evaluation.query_labels, evaluation.database_labels)), ndcg


def _on_host(x: Any) -> Any:
    return x if counts_itself(x) else _native.to_numpy(x, "summary", "codes and labels")  # the former is then refused
