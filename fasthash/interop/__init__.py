"""Codes in other systems: indexes, databases and files, every bit, id and distance kept.

Each module needs the package it is named after and imports it at its first use; the module itself is imported at its
first use too. ``transfer`` names places by addresses, for the command line.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fasthash.interop import arrow, faiss, lance, postgres, sentence_transformers, transfer, usearch

__all__ = ["arrow", "faiss", "lance", "postgres", "sentence_transformers", "transfer", "usearch"]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
