"""Binary embeddings of sentence-transformers as codes, and codes as such embeddings.

``encode(..., precision="ubinary")`` and ``quantize_embeddings`` make bit 1 of x > 0 and pack most significant bit
first, padding bits 0: the packed codes of this library, byte for byte, except that a value of exactly 0 is bit 0
there and bit 1 here (``fasthash.codes.pack``: h >= 0). ``precision="binary"`` is the same less 128, as int8. Nothing
here needs the package itself.

With ``to_faiss(index)`` as ``corpus_index`` its ``semantic_search_faiss(..., corpus_precision="ubinary")`` gives ids of
the index, with ``to_usearch(index)`` ``semantic_search_usearch``: queries as "ubinary", or floats to rescore with.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash._native import like, to_numpy
from fasthash.codes import check_packed
from fasthash.interop._codes import to_index, width_to_bits
from fasthash.search import BinaryIndex

_OFFSET = np.uint8(0x80)  # int8 of value - 128 has the same bits but the first


def packed(embeddings: Any, bits: int | None = None) -> Any:
    """Binary embeddings as packed codes, for instance of queries.

    Args:
        embeddings: uint8 ("ubinary") or int8 ("binary") [n, ceil(bits / 8)], NumPy or torch.
        bits: width of the embeddings before they were packed; None: 8 x bytes.
    Returns:
        uint8 [n, ceil(bits / 8)] of the same kind.
    Raises:
        ValueError: another dtype or shape, or a padding bit that is not 0.
    """
    return like(_packed(embeddings, bits, "packed", None)[0], embeddings)


def from_ubinary(embeddings: Any, bits: int | None = None, ids: Any = None) -> BinaryIndex:
    """An index of embeddings with ``precision="ubinary"``.

    Args:
        embeddings: uint8 [n, ceil(bits / 8)].
        bits: width of the embeddings before they were packed; None: 8 x bytes.
        ids: int64 [n] from 0 on, no two alike; None: row i has id i.
    Raises:
        ValueError: another dtype or shape, a padding bit that is not 0, or ids that do not belong to it.
    """
    codes, length = _packed(embeddings, bits, "from_ubinary", np.uint8)
    return to_index(np.array(codes), ids, length, "from_ubinary")


def from_binary(embeddings: Any, bits: int | None = None, ids: Any = None) -> BinaryIndex:
    """As ``from_ubinary``, of embeddings with ``precision="binary"``: int8 [n, ceil(bits / 8)]."""
    codes, length = _packed(embeddings, bits, "from_binary", np.int8)
    return to_index(codes, ids, length, "from_binary")


def to_ubinary(codes: Any, bits: int | None = None) -> NDArray[np.uint8]:
    """The codes of an index, in the order of its ids, or packed codes, as ``precision="ubinary"``.

    Args:
        codes: a ``BinaryIndex``, or uint8 [n, ceil(bits / 8)].
        bits: of packed codes; None: 8 x bytes.
    Returns:
        uint8 [n, ceil(bits / 8)], a copy.
    Raises:
        ValueError: another dtype or shape, or a padding bit that is not 0.
    """
    return np.array(_rows(codes, bits, "to_ubinary"))


def to_binary(codes: Any, bits: int | None = None) -> NDArray[np.int8]:
    """As ``to_ubinary``, less 128: int8 [n, ceil(bits / 8)], ``precision="binary"``."""
    return (_rows(codes, bits, "to_binary") ^ _OFFSET).view(np.int8)


def _rows(codes: Any, bits: int | None, op: str) -> NDArray[np.uint8]:
    if isinstance(codes, BinaryIndex):
        if bits not in (None, codes.bits):
            raise ValueError(f"{op}: bits must be {codes.bits}, that of the index, got {bits}")
        return codes.codes
    return _packed(codes, bits, op, np.uint8)[0]


def _packed(embeddings: Any, bits: int | None, op: str, wanted: Any) -> tuple[NDArray[np.uint8], int]:
    values = to_numpy(embeddings, op, "embeddings")
    kinds = {np.dtype(np.uint8): "uint8 (ubinary)", np.dtype(np.int8): "int8 (binary)"}
    expected = " or ".join(kinds.values()) if wanted is None else kinds[np.dtype(wanted)]
    if values.dtype not in kinds or (wanted is not None and values.dtype != wanted) or values.ndim != 2:
        raise ValueError(f"{op}: embeddings must be {expected} [n, bytes], got {values.dtype} {values.shape}")
    if values.dtype == np.int8:
        values = values.view(np.uint8) ^ _OFFSET
    length = width_to_bits(values.shape[1], bits, op)
    return check_packed(values, length, op, "embeddings"), length
