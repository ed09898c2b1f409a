"""Canonical correlation analysis as a hash: the signs of the most correlated directions of both modalities.

Hotelling: Relations between two sets of variates, Biometrika 28, 1936; the regularised form: Vinod, Canonical ridge and
econometrics of joint production, J. Econometrics 4, 1976. With a ridge of a millionth, as the hashing papers have it,
directions of noise are kept wherever there are hardly more pairs than features.
"""

from __future__ import annotations

from typing import ClassVar

from fasthash.methods._base import Positive, Preset
from fasthash.methods._closed_form import ClosedForm, Floats, Pairs, Report, Solution
from fasthash.methods._registry import register
from fasthash.methods.shallow._correlated import Correlation, Sides
from fasthash.methods.shallow._linear_features import LinearOptions, linear_features, most_directions


class CCAOptions(LinearOptions):
    """Values that the hashing papers take."""

    ridge: Positive = 1e-6  # added to each variance, as a multiple of the modality's mean variance


def check_directions(name: str, widths: tuple[int, int], bits: int, options: LinearOptions) -> None:
    """ValueError where there are fewer canonical directions than bits: as many as the narrower side has features."""
    most = min(most_directions(widths, options))
    if bits > most:
        what = "anchors" if options.anchors else f"width of the narrower features ({widths[0]} and {widths[1]})"
        raise ValueError(f"{name}: bits must be at most {most}, the {what}; more anchors give more, got {bits}")


def canonical_sides(name: str, correlation: Correlation, bits: int) -> tuple[Sides, Floats]:
    """The ``bits`` most correlated directions and their correlations; ValueError where the pairs have fewer."""
    sides, values = correlation.canonical(bits)
    if bits > len(values):
        what = f"correlated directions of {len(correlation.x.rows)} pairs"
        raise ValueError(f"{name}: bits must be at most {len(values)}, the {what}, got {bits}")
    return sides, values


@register
class CCA(ClosedForm):
    """w_x' C_xy w_y as large as can be, subject to w_x' C_xx w_x = w_y' C_yy w_y = 1."""

    name = "cca"
    paper = "Hotelling: Relations between two sets of variates, Biometrika 28, 1936"
    supervision = "none"
    options_type = CCAOptions
    seeded = False
    presets: ClassVar = {
        data: Preset(f"fasthash's own: {what}, chosen on a fifth of {data}'s training rows at 64 bits", values)
        for data, what, values in (
            # 10 text features have 10 directions
            ("wiki", "RBF features for longer codes", {"anchors": 500, "scale": "rows", "ridge": 0.01}),
            ("fashion_products", "a ridge for features of networks", {"ridge": 0.3}),
            ("movie_posters", "a ridge for features of networks", {"ridge": 0.3}),
            ("emoji", "a ridge for features of networks", {"ridge": 0.3}),
        )
    }

    options: CCAOptions

    def check(self, widths: tuple[int, int], bits: int) -> None:
        check_directions(self.name, widths, bits, self.options)

    def fit(self, pairs: Pairs, bits: int, seed: int, report: Report) -> Solution:
        correlation = Correlation(*linear_features(pairs, self.options), self.options.ridge)
        sides, _ = canonical_sides(self.name, correlation, bits)
        return Solution(*correlation.views(sides))
