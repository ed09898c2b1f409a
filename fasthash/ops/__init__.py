"""Operations: one public function each, every backend behind it."""

from fasthash.ops._registry import backends, use_backend
from fasthash.ops.code_balance import code_balance
from fasthash.ops.cosine_reconstruction import cosine_reconstruction
from fasthash.ops.cross_attention import cross_attention_score
from fasthash.ops.hamming import hamming_topk
from fasthash.ops.hamming_histogram import hamming_histogram
from fasthash.ops.joint_semantics import JointTeacher, joint_semantics_affinity, joint_semantics_loss
from fasthash.ops.labels import PackedLabels, pack_labels
from fasthash.ops.margin_euclidean import margin_euclidean, margin_for
from fasthash.ops.pairwise_nll import pairwise_nll
from fasthash.ops.proxy_pair import ProxyPairTerms, proxy_pair

__all__ = [
    "JointTeacher", "PackedLabels", "ProxyPairTerms", "backends", "code_balance", "cosine_reconstruction",
    "cross_attention_score", "hamming_histogram", "hamming_topk", "joint_semantics_affinity", "joint_semantics_loss",
    "margin_euclidean", "margin_for", "pack_labels", "pairwise_nll", "proxy_pair", "use_backend",
]  # fmt: skip
