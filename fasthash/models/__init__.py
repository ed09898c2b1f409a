"""Networks that map features to relaxed codes, and the trained model that encodes pictures, texts and features."""

# all encoders and feature maps, whether anybody names them or not: a stored model is rebuilt by their kind
from fasthash.models.bounded_tower import BoundedTower
from fasthash.models.concept_tower import ConceptTower
from fasthash.models.encoder import Encoder, encoder_kind
from fasthash.models.hash_model import HashModel
from fasthash.models.inputs import FeatureRows, Rows
from fasthash.models.joint_side import JointSide
from fasthash.models.mapped import FeatureView, MappedRows
from fasthash.models.pair_tower import PairTower, ShortenedTower
from fasthash.models.quantized_model import QuantizedModel
from fasthash.models.sparse import SparseBatch, SparseRows, feature_rows, is_sparse
from fasthash.models.sparse_codes import Projection, SparseCodes, sparse_codes
from fasthash.models.tower import Tower, TowerConfig
from fasthash.models.view import View
from fasthash.models.word_linear import WordLinear

__all__ = [
    "BoundedTower",
    "ConceptTower",
    "Encoder",
    "FeatureRows",
    "FeatureView",
    "HashModel",
    "JointSide",
    "MappedRows",
    "PairTower",
    "Projection",
    "QuantizedModel",
    "Rows",
    "ShortenedTower",
    "SparseBatch",
    "SparseCodes",
    "SparseRows",
    "Tower",
    "TowerConfig",
    "View",
    "WordLinear",
    "encoder_kind",
    "feature_rows",
    "is_sparse",
    "sparse_codes",
]
