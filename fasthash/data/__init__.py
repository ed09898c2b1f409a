"""Data sets of image-text pairs: ``load("emoji")``, ``names()``, and `PairedDataset` for data of your own."""

from fasthash.data.dataset import PairedDataset
from fasthash.data.registry import Known, load, names
from fasthash.data.splits import Split
from fasthash.data.tree import LabelTree, Layer

__all__ = ["Known", "LabelTree", "Layer", "PairedDataset", "Split", "load", "names"]
