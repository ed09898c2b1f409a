"""Losses as modules over ``fasthash.ops``, for any training loop."""

from fasthash.losses.bank import CodeBank
from fasthash.losses.codes import CodeBalance, Quantization
from fasthash.losses.cross_attention import CrossAttention
from fasthash.losses.joint_semantics import JointSemantics
from fasthash.losses.neighbours import NeighbourDivergence
from fasthash.losses.pairwise import CosineReconstruction, MarginEuclidean, PairwiseNLL
from fasthash.losses.pairwise_squared import PairwiseSquared
from fasthash.losses.proxy_pair import ProxyPair, dsph_threshold

__all__ = [
    "CodeBalance",
    "CodeBank",
    "CosineReconstruction",
    "CrossAttention",
    "JointSemantics",
    "MarginEuclidean",
    "NeighbourDivergence",
    "PairwiseNLL",
    "PairwiseSquared",
    "ProxyPair",
    "Quantization",
    "dsph_threshold",
]
