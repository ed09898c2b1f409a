"""Operations: one public function each, every backend behind it."""

from fasthash.ops._registry import backends, use_backend
from fasthash.ops.hamming import hamming_topk
from fasthash.ops.hamming_histogram import hamming_histogram
from fasthash.ops.joint_semantics import joint_semantics_affinity, joint_semantics_loss
from fasthash.ops.labels import PackedLabels, pack_labels
from fasthash.ops.pairwise_nll import pairwise_nll

__all__ = [
    "PackedLabels", "backends", "hamming_histogram", "hamming_topk", "joint_semantics_affinity", "joint_semantics_loss",
    "pack_labels", "pairwise_nll", "use_backend",
]  # fmt: skip
