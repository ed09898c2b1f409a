"""Losses as modules over ``fasthash.ops``, for any training loop."""

from fasthash.losses.bank import CodeBank
from fasthash.losses.codes import CodeBalance, Quantization
from fasthash.losses.cross_attention import CrossAttention
from fasthash.losses.graph_coherence import GraphCoherence, GraphCoherenceTerms
from fasthash.losses.hash_centres import HashCentres, hash_centres
from fasthash.losses.info_nce import InfoNCE
from fasthash.losses.joint_distribution import AffinityDistribution, JointDistribution, JointDistributionTerms
from fasthash.losses.joint_semantics import JointSemantics
from fasthash.losses.matching import match_codes
from fasthash.losses.neighbours import NeighbourDivergence
from fasthash.losses.pairwise import CosineReconstruction, MarginEuclidean, PairwiseNLL
from fasthash.losses.pairwise_squared import PairwiseSquared
from fasthash.losses.proxy_nca import ProxyNCA
from fasthash.losses.proxy_pair import ProxyPair, dsph_threshold
from fasthash.losses.shard import Shard

__all__ = [
    "AffinityDistribution",
    "CodeBalance",
    "CodeBank",
    "CosineReconstruction",
    "CrossAttention",
    "GraphCoherence",
    "GraphCoherenceTerms",
    "HashCentres",
    "InfoNCE",
    "JointDistribution",
    "JointDistributionTerms",
    "JointSemantics",
    "MarginEuclidean",
    "NeighbourDivergence",
    "PairwiseNLL",
    "PairwiseSquared",
    "ProxyNCA",
    "ProxyPair",
    "Quantization",
    "Shard",
    "dsph_threshold",
    "hash_centres",
    "match_codes",
]
