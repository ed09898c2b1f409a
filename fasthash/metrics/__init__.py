"""How good a ranking by Hamming distance is: mean average precision under named protocols and those of papers,
precision and recall by radius and by rank, and normalised discounted cumulative gain for graded relevance; how sure a
mean is, and a difference of two.

Everything is computed from two histograms per query (items and relevant items at each distance) or, where the order of
the database decides ties, from one counting pass: no sort, no matrix of nq x nb. NumPy and _C are enough.
"""

from fasthash.metrics._curves import Lookup, PRCurve, RadiusCurve, RankCurve
from fasthash.metrics._evaluate import (
    average_precision,
    evaluate,
    lookup,
    precision_at,
    precision_recall,
    precision_recall_by_radius,
    precision_recall_by_rank,
    recall_at,
)
from fasthash.metrics._graded import GradedScores, ndcg
from fasthash.metrics._histograms import Histograms, histograms
from fasthash.metrics._papers import Paper, papers
from fasthash.metrics._protocols import MEASURES, NO_RELEVANT, TIES, Measure, Protocol, protocols
from fasthash.metrics._real import evaluate_scores
from fasthash.metrics._scores import RankingScores, Scores
from fasthash.metrics._separation import Separation, separation
from fasthash.metrics._significance import Interval, PairedTest, bootstrap, paired_test
from fasthash.metrics._summary import Summary, summary

__all__ = [
    "MEASURES", "NO_RELEVANT", "TIES", "GradedScores", "Histograms", "Interval", "Lookup", "Measure", "PRCurve",
    "PairedTest", "Paper", "Protocol", "RadiusCurve", "RankCurve", "RankingScores", "Scores", "Separation", "Summary",
    "average_precision", "bootstrap", "evaluate", "evaluate_scores", "histograms", "lookup", "ndcg", "paired_test",
    "papers", "precision_at", "precision_recall", "precision_recall_by_radius", "precision_recall_by_rank", "protocols",
    "recall_at", "separation", "summary",
]  # fmt: skip
