"""Exact search over packed codes. Works with NumPy alone: importing this loads neither torch nor a GPU runtime."""

from fasthash.search.device import DeviceIndex
from fasthash.search.exact import knn, range_search
from fasthash.search.files import from_npy, load, read_faiss, write_faiss
from fasthash.search.histogram import Histogram, histogram
from fasthash.search.hits import merge_topk, rescore
from fasthash.search.index import BinaryIndex
from fasthash.search.multi_index import MultiIndex
from fasthash.search.shards import Shards, write_shards

__all__ = [
    "BinaryIndex",
    "DeviceIndex",
    "Histogram",
    "MultiIndex",
    "Shards",
    "from_npy",
    "histogram",
    "knn",
    "load",
    "merge_topk",
    "range_search",
    "read_faiss",
    "rescore",
    "write_faiss",
    "write_shards",
]
