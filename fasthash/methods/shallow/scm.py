"""SCM: semantic correlation maximisation, directions whose codes agree with the cosines of label vectors.

Zhang and Li: Large-Scale Supervised Multimodal Hashing with Semantic Correlation Maximization, AAAI 2014. The n x n
similarity S = 2 L L' - 1 1' of label rows of length 1 is never made: X'SY is 2 (X'L)(Y'L)', since centred features have
X'1 = 0, and stays a product of two narrow factors when what earlier bits explain is taken off.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fasthash.methods._base import Positive, Preset
from fasthash.methods._closed_form import ClosedForm, Floats, Pairs, Report, Solution
from fasthash.methods._registry import register
from fasthash.methods.shallow._correlated import Correlation, Sides, stack, top_of_product
from fasthash.methods.shallow._linear_features import LinearOptions, linear_features, most_directions

PAPER = "Zhang and Li: Large-Scale Supervised Multimodal Hashing with Semantic Correlation Maximization, AAAI 2014"


class SCMOptions(LinearOptions):
    """Values of the published code."""

    ridge: Positive = 1e-6  # added to each variance, as a multiple of the modality's mean variance


def _presets(**ridges: float) -> dict[str, Preset]:
    return {
        data: Preset(
            f"fasthash's own: a ridge for features of networks, chosen on a fifth of {data}'s training rows at 64 bits",
            {"ridge": ridge},
        )
        for data, ridge in ridges.items()
    }


class _SCM(ClosedForm):
    paper = PAPER
    supervision = "labels"
    options_type = SCMOptions
    seeded = False

    options: SCMOptions

    def check(self, widths: tuple[int, int], bits: int) -> None:
        most = max(most_directions(widths, self.options))
        if bits > most:
            raise ValueError(f"{self.name}: bits must be at most {most}, the width of the wider features, got {bits}")

    def fit(self, pairs: Pairs, bits: int, seed: int, report: Report) -> Solution:
        assert pairs.labels is not None
        unit = pairs.labels / np.linalg.norm(pairs.labels, axis=1, keepdims=True)
        correlation = Correlation(*linear_features(pairs, self.options), self.options.ridge)
        sides, objective = self._directions(correlation, unit, bits, report)
        found = sides[0].shape[1]
        if found < bits:
            raise ValueError(
                f"{self.name}: bits must be at most {found}, the directions of {len(pairs)} pairs, got {bits}"
            )
        return Solution(*correlation.views(sides), objective=objective)

    def _directions(
        self, correlation: Correlation, unit: Floats, bits: int, report: Report
    ) -> tuple[Sides, tuple[float, ...]]:
        raise NotImplementedError


def label_factors(correlation: Correlation, unit: Floats, bits: int) -> Sides:
    """[r_x, c] and [r_y, c] whose product is bits X'SY in whitened coordinates."""
    return _whitened(correlation, np.sqrt(2.0 * bits) * unit, np.sqrt(2.0 * bits) * unit)


def _whitened(correlation: Correlation, on_x: Floats, on_y: Floats) -> Sides:
    """L_x^-1 X'A and L_y^-1 Y'B of A, B [n, k]."""
    image, text = (
        white.into(view.rows.T @ part)
        for white, view, part in zip(correlation.white, (correlation.x, correlation.y), (on_x, on_y), strict=True)
    )
    return image, text


@register
class SCMOrthogonal(_SCM):
    """All bits at once, uncorrelated within each modality.

    Labels of c classes tell no more than c directions apart: the bits beyond are canonical directions, and where a
    modality has none of these left, directions of most variance, all uncorrelated with those before.
    """

    name = "scm_or"
    presets: ClassVar = _presets(fashion_products=0.1, movie_posters=0.3, emoji=0.3)

    def _directions(
        self, correlation: Correlation, unit: Floats, bits: int, report: Report
    ) -> tuple[Sides, tuple[float, ...]]:
        left, _, right = top_of_product(*label_factors(correlation, unit, bits), bits)
        sides: Sides = left, right
        for more in (correlation.canonical_beside, correlation.uncorrelated):
            missing = bits - sides[0].shape[1]
            if missing:
                sides = stack([sides, more(sides, missing)], bits)
        return sides, ()


@register
class SCMSequential(_SCM):
    """One bit after the other, each for what those before leave over.

    The sequence ends where the residual's largest singular value rises, or nothing is left of the residual, as from the
    first bit on where all pairs are of one class: the other bits are those of canonical correlation analysis, the least
    correlated first, and then the other directions of its joint problem.
    """

    name = "scm_se"
    presets: ClassVar = _presets(fashion_products=1.0, movie_posters=1.0, emoji=1.0)

    def _directions(
        self, correlation: Correlation, unit: Floats, bits: int, report: Report
    ) -> tuple[Sides, tuple[float, ...]]:
        a, b = label_factors(correlation, unit, bits)
        error = Disagreement(unit, bits)
        found, objective, last = list[Sides](), list[float](), np.inf
        while len(found) < bits:
            left, values, right = top_of_product(a, b, 1)
            if not len(values) or values[0] > last:
                break
            last = values[0]
            found.append((left, right))
            signs = self._signs(correlation, (left, right))
            more = _whitened(correlation, *signs)
            a, b = np.hstack([a, -more[0]]), np.hstack([b, more[1]])
            objective.append(error.after(*signs))
            report(len(found), bits, objective[-1])
        missing = bits - len(found)
        if missing:
            (left, right), _ = correlation.canonical(missing)
            found.append((left[:, ::-1], right[:, ::-1]))
            if left.shape[1] < missing:
                rest = correlation.joint(missing)
                found.append((rest[0][:, left.shape[1] :], rest[1][:, left.shape[1] :]))
        return stack(found, bits), tuple(objective)

    def _signs(self, correlation: Correlation, sides: Sides) -> Sides:
        image, text = (
            np.where(view.rows @ white.back(side) >= 0, 1.0, -1.0)
            for view, white, side in zip((correlation.x, correlation.y), correlation.white, sides, strict=True)
        )
        return image, text


class Disagreement:
    """Mean squared difference between S and the codes' inner products over their length, bit by bit, without S."""

    def __init__(self, unit: Floats, bits: int) -> None:
        self.unit, self.bits = unit, bits
        n = len(unit)
        # |2 L L' - 1 1'|^2
        self.total = bits**2 * float(4 * np.square(unit.T @ unit).sum() - 4 * np.square(unit.sum(axis=0)).sum() + n**2)
        self.codes: list[Sides] = []

    def after(self, image: Floats, text: Floats) -> float:
        """With one more bit, -1 and +1 [n, 1] of each modality."""
        h, g = image[:, 0], text[:, 0]
        agreement = float(2 * (self.unit.T @ h) @ (self.unit.T @ g) - h.sum() * g.sum())
        earlier = sum(float(h @ p) * float(q @ g) for p, q in self.codes)
        self.codes.append((h, g))
        self.total += -2 * self.bits * agreement + 2 * earlier + len(h) ** 2
        return self.total / (self.bits * len(h)) ** 2
