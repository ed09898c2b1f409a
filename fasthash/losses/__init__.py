"""Losses as modules over ``fasthash.ops``, for any training loop."""

from fasthash.losses.codes import CodeBalance, Quantization
from fasthash.losses.joint_semantics import JointSemantics
from fasthash.losses.pairwise import PairwiseNLL

__all__ = ["CodeBalance", "JointSemantics", "PairwiseNLL", "Quantization"]
