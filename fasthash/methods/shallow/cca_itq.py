"""CCA-ITQ: canonical directions, then one rotation of both modalities whose signs lie nearest to what it turns.

Gong, Lazebnik, Gordo, Perronnin: Iterative Quantization, TPAMI 2013, section 3, where the second view are labels; here
it is the text, as in the cross-modal papers that compare with it, and the rotation is learned on the projections of
both modalities, which lie in one space. A rotation keeps inner products: what changes is how much the signs keep.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from fasthash._canonical import align_signs
from fasthash._rotation import itq_rotation
from fasthash.methods._base import Positive, Preset, Weight
from fasthash.methods._closed_form import ClosedForm, Pairs, Report, Solution
from fasthash.methods._registry import register
from fasthash.methods.shallow._correlated import Correlation
from fasthash.methods.shallow._linear_features import LinearOptions, linear_features
from fasthash.methods.shallow.cca import canonical_sides, check_directions


class CCAITQOptions(LinearOptions):
    """The paper's values; its ridge is 1e-4."""

    ridge: Positive = 1e-4  # added to each variance, as a multiple of the modality's mean variance
    iterations: int = Field(50, ge=1)
    power: Weight = 1.0  # of the correlation that scales each direction before the rotation; 0: all count alike


@register
class CCAITQ(ClosedForm):
    """CCA whose variance ITQ spreads over all bits."""

    name = "cca_itq"
    paper = (
        "Gong, Lazebnik, Gordo, Perronnin: Iterative Quantization: A Procrustean Approach to Learning Binary Codes for"
        " Large-Scale Image Retrieval, TPAMI 2013"
    )
    supervision = "none"
    options_type = CCAITQOptions
    presets: ClassVar = {
        data: Preset(f"fasthash's own: {what}, chosen on a fifth of {data}'s training rows at 64 bits", values)
        for data, what, values in (
            # 10 text features have 10 directions
            ("wiki", "RBF features for longer codes", {"anchors": 500, "scale": "rows", "ridge": 0.01}),
            ("fashion_products", "a ridge for features of networks", {"ridge": 1.0}),
            ("movie_posters", "a ridge for features of networks", {"ridge": 10.0}),
            ("emoji", "a ridge for features of networks", {"ridge": 3.0}),
        )
    }

    options: CCAITQOptions

    def check(self, widths: tuple[int, int], bits: int) -> None:
        check_directions(self.name, widths, bits, self.options)

    def fit(self, pairs: Pairs, bits: int, seed: int, report: Report) -> Solution:
        o = self.options
        x, y = linear_features(pairs, o)
        correlation = Correlation(x, y, o.ridge)
        sides, values = canonical_sides(self.name, correlation, bits)
        # signs that the library of linear algebra chose would change the rotation that is found
        weights = align_signs(*correlation.weights(sides))
        image, text = (side * values**o.power for side in weights)
        projected = np.concatenate([x.project(image), y.project(text)])
        rotation, errors = itq_rotation(projected, o.iterations, seed)
        return Solution(x.view(image @ rotation), y.view(text @ rotation), objective=errors)
