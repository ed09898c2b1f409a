"""Networks that map features to relaxed codes, and the trained model that encodes pictures, texts and features."""

from fasthash.models.hash_model import HashModel
from fasthash.models.tower import Tower, TowerConfig

__all__ = ["HashModel", "Tower", "TowerConfig"]
