"""CVH: cross-view hashing, spectral hashing of objects that are seen in two views.

Kumar and Udupa: Learning Hash Functions for Cross-View Similarity Search, IJCAI 2011. With one text to each picture and
its linear relaxation, the summed Hamming distances within and across views are lowest for eigenvectors of the joint
problem of canonical correlation analysis. It has as many as both modalities have features: where code lengths exceed
the canonical directions, bits of eigenvalue 0 follow, which know nothing of the other modality, and then the
canonical ones with one side's sign turned. The more of them, the worse the codes: the method's published numbers fall
with the length.
"""

from __future__ import annotations

from typing import ClassVar

from fasthash.methods._base import Positive, Preset
from fasthash.methods._closed_form import ClosedForm, Pairs, Report, Solution
from fasthash.methods._registry import register
from fasthash.methods.shallow._correlated import Correlation
from fasthash.methods.shallow._linear_features import LinearOptions, linear_features, most_directions


class CVHOptions(LinearOptions):
    """Values of the published code."""

    ridge: Positive = 1e-4  # added to each variance, as a multiple of the modality's mean variance


@register
class CVH(ClosedForm):
    """The first eigenvectors of the joint problem of `Correlation`."""

    name = "cvh"
    paper = "Kumar and Udupa: Learning Hash Functions for Cross-View Similarity Search, IJCAI 2011"
    supervision = "none"
    options_type = CVHOptions
    seeded = False
    presets: ClassVar = {
        data: Preset(
            f"fasthash's own: a ridge for features of networks, chosen on a fifth of {data}'s training rows at 64 bits",
            {"ridge": 0.3},
        )
        for data in ("fashion_products", "movie_posters", "emoji")
    }

    options: CVHOptions

    def check(self, widths: tuple[int, int], bits: int) -> None:
        most = sum(most_directions(widths, self.options))
        if bits > most:
            raise ValueError(f"cvh: bits must be at most {most}, the features of both modalities together, got {bits}")

    def fit(self, pairs: Pairs, bits: int, seed: int, report: Report) -> Solution:
        correlation = Correlation(*linear_features(pairs, self.options), self.options.ridge)
        sides = correlation.joint(bits)
        found = sides[0].shape[1]
        if found < bits:
            raise ValueError(f"cvh: bits must be at most {found}, the directions of {len(pairs)} pairs, got {bits}")
        return Solution(*correlation.views(sides))
