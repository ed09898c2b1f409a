"""Data sets of image-text pairs: ``load("emoji")``, ``names()``, prepared folders, and `PairedDataset` for arrays.

``fasthash.data.preparing.prepare`` turns anybody's files into a prepared folder, which ``load`` takes by its path.
"""

from fasthash.data.dataset import PairedDataset
from fasthash.data.registry import Known, load, names, prepared_folder
from fasthash.data.splits import Split
from fasthash.data.tree import LabelTree, Layer

__all__ = ["Known", "LabelTree", "Layer", "PairedDataset", "Split", "load", "names", "prepared_folder"]
