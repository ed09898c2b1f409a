"""What the published scripts measure: presets of `evaluate` by paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from fasthash.metrics._protocols import Measure

_NUMPY = "np.argsort, whose default leaves items at equal distance in an arbitrary order: the mean over all orders"
_TORCH = "torch.sort, which promises no order of items at equal distance: the mean over all orders"
_LINE = "calc_map_k with k left out, which is map_all; with k it would be map_first_k_relevant, no metric of the top k"


@dataclass(frozen=True)
class Paper:
    """How a paper's own script measures mAP, as keywords of `evaluate`."""

    name: str
    title: str
    venue: str
    measure: Measure
    sort: str  # what the script does with items at equal distance, and what stands for it here
    source: str  # where the definition was read
    note: str = ""  # what else to know before comparing numbers

    @property
    def options(self) -> dict[str, Any]:
        """protocol, ties, k and no_relevant, for ``evaluate(..., **papers()[name].options)``."""
        return asdict(self.measure)

    def __str__(self) -> str:
        note = f" ({self.note})" if self.note else ""
        return f"{self.name}, {self.venue}: {self.measure}{note}; {self.sort}; {self.source}"


_PAPERS = (
    Paper(
        "cdq", "Collective Deep Quantization for Efficient Cross-Modal Retrieval", "AAAI 2017",
        Measure("map_at_k_hitonly", "expected", 50),
        _NUMPY,
        "github.com/caoyue10/aaai17-cdq: class MAPs, with R = 50",
        "ranks by the inner product of real query outputs with quantised items, so codes alone do not give its numbers",
    ),
    Paper(
        "dcgh", "Deep Class-guided Hashing for Multi-label Cross-modal Retrieval", "Applied Sciences 2025",
        Measure("map_all", "expected"), _TORCH, f"its released code: {_LINE}",
        "best epoch on the queries, for each direction",
    ),
    Paper(
        "dchmt", "Differentiable Cross-modal Hashing via Multimodal Transformers", "ACM MM 2022",
        Measure("map_all", "expected"), _TORCH, f"github.com/kalenforn/DCHMT, utils/calc_utils.py: {_LINE}",
        "best epoch on the queries, for each direction; its matrix form gives NaN where a query has no relevant item",
    ),
    Paper(
        "dcmh", "Deep Cross-Modal Hashing", "CVPR 2017",
        Measure("map_all", "stable"),
        "MATLAB's sort keeps the order of the database (the TensorFlow script sorts with np.argsort: any order)",
        "github.com/jiangqy/DCMH-CVPR2017, DCMH_matlab, utils/calcMapTopkMapTopkPreTopkRecLabel.m",
    ),
    Paper(
        "djsrh", "Deep Joint-Semantics Reconstructing Hashing for Large-Scale Unsupervised Cross-Modal Retrieval",
        "ICCV 2019", Measure("map_at_k", "expected", 50), _NUMPY,
        "github.com/zs-zhong/DJSRH, metric.py: calculate_top_map",
        "divides by the hits among the first 50; later papers' DJSRH rows often are map_all and 0.1 to 0.2 lower",
    ),
    Paper(
        "dnph", "Deep Neighborhood-aware Proxy Hashing with Uniform Distribution Constraint for Cross-modal Retrieval",
        "ACM TOMM 2024",
        Measure("map_all", "expected"), _TORCH, f"its released code: {_LINE}",
    ),
    Paper(
        "dsph", "Deep Semantic-aware Proxy Hashing for Multi-label Cross-modal Retrieval", "IEEE TCSVT 2024",
        Measure("map_all", "expected"), _TORCH, f"its released code: {_LINE}",
        "best epoch on the queries, for each direction",
    ),
    Paper(
        "hashnet", "HashNet: Deep Learning to Hash by Continuation", "ICCV 2017",
        Measure("map_at_k_hitonly", "expected", 5000), _NUMPY,
        "github.com/thuml/HashNet, pytorch/src/test.py: mean_average_precision",
        "k = 5000 on NUS-WIDE and COCO, 1000 on ImageNet; a query without a hit is left out",
    ),
    Paper(
        "hichnet", "Supervised Hierarchical Cross-Modal Hashing", "SIGIR 2019",
        Measure("map_all", "expected"), _NUMPY,
        "the paper; the helper that measures is missing from its code, which follows DCMH's in TensorFlow",
        "whether any layer or the finest one makes an item relevant is not said",
    ),
    Paper(
        "mith", "Multi-Granularity Interactive Transformer Hashing for Cross-modal Retrieval", "ACM MM 2023",
        Measure("map_all", "expected"), _TORCH, f"its released code: {_LINE}",
        "best epoch on the queries, for each direction",
    ),
    Paper(
        "ssah", "Self-Supervised Adversarial Hashing Networks for Cross-Modal Retrieval", "CVPR 2018",
        Measure("map_all", "expected"), _NUMPY, "github.com/lelan-li/SSAH, utils/calc_hammingranking.py: calc_map",
    ),
    Paper(
        "twdh", "Two-Step Discrete Hashing for Cross-Modal Retrieval", "IEEE TMM 2024",
        Measure("map_first_k_relevant", "expected", 5000), _TORCH, "its released code: calc_map_k with k = 5000",
        'reported as "mAP@5000", but the first 5,000 relevant items count wherever they are',
    ),
    Paper(
        "udsph", "Self-supervised deep semantics-preserving hashing for cross-modal retrieval",
        "J. Tsinghua Univ. (Sci. & Technol.) 2022", Measure("map_all", "expected"),
        "no code is public: the mean over all orders", "the paper, which measures as SSAH and DCMH do",
    ),
)  # fmt: skip


def papers() -> Mapping[str, Paper]:
    """Name -> how that paper measures; ``evaluate(..., **papers()["djsrh"].options)`` measures like it."""
    return MappingProxyType({paper.name: paper for paper in _PAPERS})
