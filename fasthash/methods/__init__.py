"""Published methods, one file per paper, behind one registry."""

from fasthash.methods import dcmh, djsrh  # importing a paper's file registers it
from fasthash.methods._base import Batch, Method, Options, Phase, Preset, TrainData
from fasthash.methods._registry import MethodInfo, get, names, resolve_options

__all__ = [
    "Batch", "Method", "MethodInfo", "Options", "Phase", "Preset", "TrainData", "dcmh", "djsrh", "get", "names",
    "resolve_options",
]  # fmt: skip
