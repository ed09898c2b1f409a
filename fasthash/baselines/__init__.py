"""What a learned code is compared with: closed forms and real-valued references. NumPy alone, float64."""

from fasthash.baselines.embedding_codes import ITQ, EmbeddingHash, RandomRotation
from fasthash.baselines.ranking import RealScores, rank_by_cosine
from fasthash.baselines.ridge import LabelRegression, RidgeLabels

__all__ = [
    "ITQ",
    "EmbeddingHash",
    "LabelRegression",
    "RandomRotation",
    "RealScores",
    "RidgeLabels",
    "rank_by_cosine",
]
