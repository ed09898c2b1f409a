"""Anybody's files to pairs: ``read("nus_wide", folder)``, `kinds`, `detect`, and `reader` for a layout of your own."""

from fasthash.data.readers._registry import Kind, detect, kinds, read, reader

__all__ = ["Kind", "detect", "kinds", "read", "reader"]
