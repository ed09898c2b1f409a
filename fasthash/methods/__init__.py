"""Published methods, one file per paper, behind one registry."""

# importing a method's file registers it
from fasthash.methods import (
    cdq,
    dbrc,
    dcgh,
    dchmt,
    dcmh,
    dgcpn,
    djsrh,
    dnph,
    dsph,
    float_neighbours,
    hichnet,
    jdsh,
    mith,
    shallow,
    ssah,
    twdh,
    two_tower,
    udcmh,
    udsph,
)
from fasthash.methods._base import Batch, Method, Options, Outputs, Phase, Preset, Settings, TrainData
from fasthash.methods._closed_form import ClosedForm, ClosedFormOptions, Pairs, Solution
from fasthash.methods._registry import Kind, MethodInfo, get, names, options_from_text, resolve_options

__all__ = [
    "Batch", "ClosedForm", "ClosedFormOptions", "Kind", "Method", "MethodInfo", "Options", "Outputs", "Pairs", "Phase",
    "Preset", "Settings", "Solution", "TrainData", "get", "names", "options_from_text", "resolve_options",
]  # fmt: skip
# one module for each method that is trained in batches; shallow holds the others
__all__ += [
    "cdq", "dbrc", "dcgh", "dchmt", "dcmh", "dgcpn", "djsrh", "dnph", "dsph", "float_neighbours", "hichnet", "jdsh",
    "mith", "shallow", "ssah", "twdh", "two_tower", "udcmh", "udsph",
]  # fmt: skip
