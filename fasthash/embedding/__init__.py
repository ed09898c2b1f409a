"""Encoders, ready-made networks and simpler ones, over a whole data set: docs/embed.md."""

from fasthash.embedding.encoders import Encoder, Known, encoder, encoders
from fasthash.embedding.run import Embedded, Made, embed

__all__ = ["Embedded", "Encoder", "Known", "Made", "embed", "encoder", "encoders"]
