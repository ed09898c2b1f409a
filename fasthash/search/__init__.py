"""Exact search over packed codes. Works with NumPy alone: importing this loads neither torch nor a GPU runtime."""

from fasthash.search.exact import knn, range_search
from fasthash.search.hits import merge_topk, rescore
from fasthash.search.index import BinaryIndex, load

__all__ = ["BinaryIndex", "knn", "load", "merge_topk", "range_search", "rescore"]
