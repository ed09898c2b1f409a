"""Raw pictures and texts to feature vectors. Nothing heavy is imported before an extractor is used.

An extractor has ``width``, ``encode(items)``, ``config()`` and ``tensors()``; ``from_config(config, tensors)`` builds
the same one again, so a stored model can be given pictures and words.
"""

from fasthash.features.base import Extractor, from_config, register
from fasthash.features.cache import cached_features
from fasthash.features.image import EfficientNetLite0
from fasthash.features.joined import Joined
from fasthash.features.pictures import Picture
from fasthash.features.text import BagOfWords, WordVectors, tokenize

__all__ = [
    "BagOfWords", "EfficientNetLite0", "Extractor", "Joined", "Picture", "WordVectors", "cached_features",
    "from_config", "register", "tokenize",
]  # fmt: skip
