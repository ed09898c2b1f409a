"""SePH: codes as far apart as labels are, then a kernel logistic regression for each bit and modality.

Lin, Ding, Hu, Wang: Semantics-Preserving Hashing for Cross-View Retrieval, CVPR 2015; with anchors by k-means it is the
paper's SePH_km, with random ones SePH_rnd. Codes minimise the Kullback-Leibler divergence between the affinities of the
labels and a Student-t form of the Hamming distances (`LabelDivergence`). In it, pairs with the same labels differ in
nothing but where they start, and descent brings them together: one code for each set of labels, counted as often as it
occurs, has the same minimum, found at a small part of the cost. What the paper does pair by pair is there as an option.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from fasthash.methods._base import Positive, Preset, Weight
from fasthash.methods._closed_form import ClosedForm, ClosedFormOptions, Floats, Pairs, Report, Solution
from fasthash.methods._registry import register
from fasthash.methods.shallow._kernel_logistic import ROWS, fit_view, kmeans
from fasthash.methods.shallow._label_codes import LabelDivergence, descend
from fasthash.models.view import View

ROUNDS = 10  # of k-means


def _chosen(data: str) -> str:
    return f"fasthash's own: ridge and anchors chosen on a fifth of {data}'s training rows at 64 bits, the paper's else"


class SePHOptions(ClosedFormOptions):
    """The paper's values, where it has any."""

    alpha: Weight = 0.01  # of the codes' distance to signs
    iterations: int = Field(100, ge=1)  # of L-BFGS at most
    codes_of: Literal["label sets", "pairs"] = "label sets"  # what has a code of its own in the descent
    # of label sets, or pairs, at most so many are in the descent, drawn at random: its time grows with their square.
    # Pairs left out have their codes from both regressions
    sample: int = Field(4000, ge=2)
    anchors: int = Field(500, ge=1)  # of each modality's RBF features
    anchors_by: Literal["kmeans", "random"] = "kmeans"
    ridge: Positive = 0.01  # lambda, of the regressions
    steps: int = Field(300, ge=1)  # of a regression at most


@register
class SePH(ClosedForm):
    """Relaxed codes of new items are log odds of the bits; those learned for the training pairs are the descent's."""

    name = "seph"
    paper = "Lin, Ding, Hu, Wang: Semantics-Preserving Hashing for Cross-View Retrieval, CVPR 2015"
    supervision = "labels"
    learns_codes = True
    options_type = SePHOptions
    presets: ClassVar[dict[str, Preset]] = {
        "wiki": Preset(_chosen("wiki"), {"ridge": 0.001}),
        "movie_posters": Preset(_chosen("movie_posters"), {"ridge": 0.001}),
        "emoji": Preset(_chosen("emoji"), {"ridge": 0.001, "anchors": 1000}),
    }

    options: SePHOptions

    def fit(self, pairs: Pairs, bits: int, seed: int, report: Report) -> Solution:
        o, rng = self.options, np.random.default_rng(seed)
        assert pairs.labels is not None
        sets = _Sets(pairs.labels, o.codes_of == "pairs", o.sample, rng)
        start = rng.standard_normal((len(sets.labels), bits))
        divergence = LabelDivergence(sets.labels, o.alpha, sets.counts)
        codes, objective = descend(divergence, start, o.iterations, report)
        known = np.flatnonzero(sets.of_pair >= 0)
        learned = np.empty((len(pairs), bits))
        learned[known] = codes[sets.of_pair[known]]
        signs = np.where(learned[known] >= 0, 1.0, -1.0)
        views = []
        for rows, mean in ((pairs.x, pairs.x_mean), (pairs.y, pairs.y_mean)):
            anchors = self._anchors(rows, rng)
            views.append(fit_view(rows, mean, anchors, signs, known, o.ridge, o.steps))
        rest = np.flatnonzero(sets.of_pair < 0)
        if len(rest):
            learned[rest] = joint_odds(views, (pairs.x[rest], pairs.y[rest]), signs)
        image, text = views
        return Solution(image, text, learned=learned, objective=objective)

    def _anchors(self, rows: Floats, rng: np.random.Generator) -> Floats:
        count = min(self.options.anchors, len(rows))
        if self.options.anchors_by == "kmeans":
            return kmeans(rows, count, ROUNDS, rng)
        return rows[np.sort(rng.choice(len(rows), count, replace=False))]


class _Sets:
    """What has a code of its own.

    ``labels`` [g, c], ``counts`` [g] how many training pairs each stands for, ``of_pair`` int [n] which of them a
    training pair belongs to, -1: to one that was not drawn.
    """

    def __init__(self, labels: Floats, single: bool, most: int, rng: np.random.Generator) -> None:
        n = len(labels)
        if single:
            distinct, of_pair, counts = labels, np.arange(n), np.ones(n, np.int64)
        else:
            distinct, of_pair, counts = np.unique(labels, axis=0, return_inverse=True, return_counts=True)
        drawn = np.arange(len(distinct))
        if len(distinct) > most:
            drawn = np.sort(rng.choice(len(distinct), most, replace=False, p=counts / n))
        place = np.full(len(distinct), -1)
        place[drawn] = np.arange(len(drawn))
        self.labels = np.ascontiguousarray(distinct[drawn])
        self.counts = counts[drawn].astype(np.float64)
        self.of_pair = place[of_pair.reshape(n)]


def joint_odds(views: list[View], sides: tuple[Floats, Floats], signs: Floats) -> Floats:
    """Log odds [k, bits] of pairs seen in both modalities, which are taken to be independent given a bit.

    Args:
        views: whose relaxed codes are log odds. sides: centred rows [k, p] of each.
        signs: [m, bits] known codes, whose shares of -1 and 1 are what is known of a bit beforehand.
    Source: the paper's rule for new items that are seen in both views.
    """
    up = (signs > 0).mean(axis=0)
    margin = 1 / (2 * len(signs))
    up = np.clip(up, margin, 1 - margin)
    odds = np.zeros((len(sides[0]), signs.shape[1])) - np.log(up / (1 - up))
    for view, rows in zip(views, sides, strict=True):
        parts = [view(part + view.mean).numpy() for part in torch.from_numpy(rows).split(ROWS)]
        odds += np.concatenate(parts)
    return odds
