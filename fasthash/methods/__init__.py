"""Published methods, one file per paper, behind one registry."""

# importing a method's file registers it
from fasthash.methods import dcgh, dcmh, djsrh, float_neighbours, hichnet, ssah, two_tower, udsph
from fasthash.methods._base import Batch, Method, Options, Outputs, Phase, Preset, TrainData
from fasthash.methods._registry import MethodInfo, get, names, options_from_text, resolve_options

__all__ = [
    "Batch", "Method", "MethodInfo", "Options", "Outputs", "Phase", "Preset", "TrainData", "dcgh", "dcmh", "djsrh",
    "float_neighbours", "get", "hichnet", "names", "options_from_text", "resolve_options", "ssah", "two_tower", "udsph",
]  # fmt: skip
