"""Networks that map features to relaxed codes, and the trained model that encodes pictures, texts and features."""

from fasthash.models.hash_model import HashModel
from fasthash.models.inputs import FeatureRows, Rows
from fasthash.models.mapped import FeatureView, MappedRows
from fasthash.models.sparse import SparseBatch, SparseRows, feature_rows, is_sparse
from fasthash.models.tower import Tower, TowerConfig
from fasthash.models.word_linear import WordLinear

__all__ = [
    "FeatureRows",
    "FeatureView",
    "HashModel",
    "MappedRows",
    "Rows",
    "SparseBatch",
    "SparseRows",
    "Tower",
    "TowerConfig",
    "WordLinear",
    "feature_rows",
    "is_sparse",
]
