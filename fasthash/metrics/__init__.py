"""How good a ranking by Hamming distance is: mean average precision under named protocols, precision, recall,
and normalised discounted cumulative gain for graded relevance.

Everything is computed from two histograms per query (items and relevant items at each distance) or, where the order of
the database decides ties, from one counting pass: no sort, no matrix of nq x nb. NumPy and _C are enough.
"""

from fasthash.metrics._evaluate import average_precision, evaluate, lookup, precision_at, precision_recall
from fasthash.metrics._graded import GradedScores, ndcg
from fasthash.metrics._histograms import Histograms, histograms
from fasthash.metrics._protocols import TIES, Protocol, protocols
from fasthash.metrics._scores import Lookup, PRCurve, Scores

__all__ = [
    "TIES", "GradedScores", "Histograms", "Lookup", "PRCurve", "Protocol", "Scores", "average_precision", "evaluate",
    "histograms", "lookup", "ndcg", "precision_at", "precision_recall", "protocols",
]  # fmt: skip
