"""DGCPN: unsupervised hashing by a graph of the training pairs, in half-real and half-binary steps.

Yu, Zhou, Zhan, Tao: Deep Graph-neighbor Coherence Preserving Network for Unsupervised Cross-modal Hashing, AAAI 2021, a
successor of DJSRH. Defaults are those of the authors' released code for its 5,000 training pairs.

This library's reading, where it leaves something open or holds an n x n matrix: the graph is kept by its neighbours,
and what two pairs have in common is worked out for the pairs of a batch. Pairs are no neighbours of themselves, and
those of negative similarity are no neighbours. Sizes of the graph that are not given grow with the training set up to
the published ones: four tenths of it are neighbours, 2,000 at most, and the scale is twice that number, at which two
pairs with the very same neighbours have an affinity of about 2 from them, as published. In the half-binary steps the
codes of the other side are those after the step before; in the code they are older by half a step.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fasthash import losses
from fasthash.methods._base import (
    SIDES,
    Batch,
    Options,
    Outputs,
    Phase,
    Positive,
    Preset,
    Share,
    TrainData,
    Weight,
    Widths,
)
from fasthash.methods._registry import register
from fasthash.methods._relaxed_pair import RelaxedPair
from fasthash.methods._teacher_features import TeacherFeatures
from fasthash.models.neighbour_graph import NeighbourGraph

MOST_NEIGHBOURS = 2000  # published; 16 KB for each pair
NEIGHBOUR_SHARE = 0.4


class DGCPNOptions(Options):
    """Values of the released code."""

    epochs: int = Field(100, ge=1)
    batch_size: int = Field(32, ge=2)
    text_share: Share = 0.01  # a1, share of the text similarity, of the graph and of the affinity
    second_order: Share = 0.3  # a2, share of the neighbours that two pairs have in common in their affinity
    neighbours: int | None = Field(None, ge=2)  # of a pair, itself counted as in the paper; None: see above
    scale: Positive | None = None  # of the second order; None: twice the neighbours
    pair_target: float = 1.5  # K, of the cosines of the two codes of a pair
    pair: Weight = 1.0
    coherence: Weight = 1.0  # dw
    consistency: Weight = 1.0  # cw
    # after each step on relaxed codes one for each side against the other's signs
    half_binary: bool = True
    affine: bool = True  # affinities as 2S - 1; see djsrh
    relaxation: Literal["root", "constant"] = "constant"  # codes tanh(a h), a the root of the epoch, or 1
    lr_image: Positive = 0.005
    lr_text: Positive = 0.005
    momentum: Share = 0.9
    weight_decay: Weight = 5e-4
    image_hidden: Widths = (4096,)
    text_hidden: Widths = (4096,)
    dropout: float = Field(0.0, ge=0, lt=1)  # of hidden layers
    centre: bool = False  # subtract the training mean before the first layer
    normalize: bool = False  # unit-length features before the first layer


@register
class DGCPN(RelaxedPair):
    """Codes whose cosines rebuild 2 [(1 - a2) S + a2 scale P P^T] - 1: see ``fasthash.losses.GraphCoherence``.

    S are the features' cosines, P the probabilities of the graph. Kept of n training pairs: a copy of their features at
    length 1, but of features in a file nothing, and the graph, 8 n neighbours bytes; n^2 similarities build it.
    """

    name = "dgcpn"
    paper = "Yu, Zhou, Zhan, Tao: Deep Graph-neighbor Coherence Preserving Network, AAAI 2021"
    supervision = "none"
    options_type = DGCPNOptions
    presets: ClassVar = {
        data: Preset(
            "fasthash's own: small networks on fixed features, without momentum, as djsrh's, mostly with weaker pulls"
            " between the codes of a pair, which are learned soonest; chosen on a fifth of"
            f" {data}'s training rows at 64 bits",
            {
                "momentum": 0.0, "image_hidden": (256,), "text_hidden": (256,), "centre": True, "normalize": True,
                "pair": 0.1, "consistency": 0.1, "lr_image": 0.1, "lr_text": 0.5,
                **values,
            },
        )
        for data, values in (
            (
                "fashion_products",
                {
                    "epochs": 7, "batch_size": 64, "text_share": 0.3, "neighbours": 500, "lr_image": 0.3,
                    "lr_text": 1.5,
                },
            ),
            (
                "movie_posters",
                {
                    "epochs": 4, "text_share": 0.4, "neighbours": 300, "pair": 1.0, "consistency": 1.0,
                    "lr_image": 0.3, "lr_text": 1.5,
                },
            ),
            ("emoji", {"epochs": 15, "text_share": 0.6}),
            ("wiki", {"epochs": 15, "text_share": 0.7, "neighbours": 150, "lr_text": 0.1}),
        )
    }  # fmt: skip

    options: DGCPNOptions

    def __init__(self, train: TrainData, bits: int, options: DGCPNOptions) -> None:
        super().__init__(train, bits, options)
        o, n = options, len(train)
        if n < 3:
            raise ValueError(f"dgcpn: needs 3 training pairs or more, got {n}")
        self.teacher = TeacherFeatures(train)  # before a step is made
        neighbours = min(MOST_NEIGHBOURS, math.ceil(NEIGHBOUR_SHARE * n)) if o.neighbours is None else o.neighbours
        neighbours = min(max(2, neighbours), n)
        self.scale = o.scale or 2.0 * neighbours
        # a closed form of the training rows: made anew where a run is resumed, and no part of its state
        self.graph = NeighbourGraph.build(self._similarity_at, n, neighbours - 1) if o.second_order else None
        self.add_towers(train, bits)
        self.coherence = losses.GraphCoherence(
            target=o.pair_target, pair=o.pair, coherence=o.coherence, consistency=o.consistency
        )

    def _similarity_at(self, rows: Tensor, columns: Tensor) -> Tensor:
        """[r, c] of training rows int64 [r] and [c]; of augmented pictures as the first epoch has them."""
        a, b = self.teacher.at(rows), self.teacher.at(columns)
        return self._mixed(a[0] @ b[0].T, a[1] @ b[1].T)

    def _mixed(self, image: Tensor, text: Tensor) -> Tensor:
        return (1 - self.options.text_share) * image + self.options.text_share * text

    @torch.no_grad()
    def affinity(self, f_image: Tensor, f_text: Tensor, index: Tensor) -> Tensor:
        """The target [m, m] of a batch, from its features at length 1 and its rows int64 [m]."""
        o = self.options
        s = self._mixed(f_image @ f_image.T, f_text @ f_text.T)
        if self.graph is not None:
            s = (1 - o.second_order) * s + o.second_order * self.scale * self.graph.second_order(index)
        return 2 * s - 1 if o.affine else s

    def phases(self, epoch: int) -> list[Phase]:
        """Steps on a batch: of both sides, then of each by itself; the last one stands for all of them."""
        joint = Phase("joint", SIDES)
        if not self.options.half_binary:
            return [joint]
        return [Phase("text", ("text",), before=Phase("image", ("image",), before=joint))]

    def encode(self, batch: Batch, phase: str) -> Outputs:
        outputs: Outputs = {}
        for side in SIDES:
            with torch.set_grad_enabled(torch.is_grad_enabled() and phase in ("joint", side)):
                outputs[side] = getattr(self, side)(getattr(batch, side))
        return outputs | self.teacher.outputs(batch)

    def loss(self, outputs: Outputs, index: Tensor, phase: str) -> dict[str, Tensor]:
        codes = []
        for side in SIDES:
            relaxed = self.relaxed(outputs, side)
            codes.append(relaxed if phase in ("joint", side) else torch.where(relaxed.detach() >= 0, 1.0, -1.0))
        affinity = self.affinity(*self.teacher.of(outputs, index), index)
        return self.coherence(*codes, affinity)._asdict()
