"""fasthash: cross-modal hashing. Learn binary codes for images and texts, search them exactly, measure them honestly.

``import fasthash`` loads NumPy at most; torch, the kernels and the native module load at first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fasthash import (
        codes,
        data,
        distributed,
        features,
        interop,
        losses,
        methods,
        metrics,
        models,
        ops,
        published,
        report,
        scoring,
        search,
    )
    from fasthash.models import HashModel
    from fasthash.ops import backends, use_backend
    from fasthash.training import Run, train

_ROOMS = (
    "codes", "data", "distributed", "features", "interop", "losses", "methods", "metrics", "models", "ops", "published",
    "report", "scoring", "search",
)  # fmt: skip
_NAMES = {
    "HashModel": "fasthash.models",
    "Run": "fasthash.training",
    "backends": "fasthash.ops",
    "train": "fasthash.training",
    "use_backend": "fasthash.ops",
}
__all__ = [
    "HashModel", "Run", "backends", "codes", "data", "distributed", "features", "interop", "losses", "methods",
    "metrics", "models", "ops", "published", "report", "scoring", "search", "train", "use_backend",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"fasthash.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'fasthash' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
