"""Nearest codes of a batch of queries in a database that lies in memory or in a mapped file."""

from __future__ import annotations

from typing import Any

from fasthash import _hamming


def knn(
    queries: Any,
    database: Any,
    k: int,
    *,
    bits: int | None = None,
    allow: Any = None,
    threads: int | None = None,
) -> tuple[Any, Any]:
    """The k nearest codes of each query by Hamming distance; exact.

    Args:
        queries: uint8 [nq, ceil(bits / 8)], nq >= 1; NumPy or torch, CPU or CUDA.
        database: uint8 [nb, ceil(bits / 8)], nb >= 1, C-contiguous at any alignment; searched in place and never
            copied, so a ``np.memmap`` larger than memory will do. See Devices.
        k: hits wanted, at least 1; may exceed nb.
        bits: code length; 8 x bytes when left out. Otherwise the padding bits are checked, one byte a row.
        allow: which codes may be hits: bool [nb], or a packed bitmask uint8 [ceil(nb / 8)] as ``np.packbits`` makes.
        threads: CPU threads at most; None for every core this process may use. The result does not depend on it.
    Returns:
        distances int32 [nq, k] in bits and ids int64 [nq, k], rows of the database; each row by (distance, id)
        ascending, ending in (2147483647, -1) where fewer than k codes are allowed. Of the queries' kind and device.
    Raises:
        TypeError: an argument is no array, or k or threads no whole number.
        ValueError: wrong dtype or shape, an empty input, a non-zero padding bit, a database with gaps between its
            rows, or k < 1.
        RuntimeError: the database is on a CUDA device for which there are no kernels; one line says why.
    Devices: a database on a CUDA device is searched there, the queries being copied to it; queries on a device with a
        database on the CPU are answered on theirs: the database, of any size, streams through in chunks of 64 MiB.
        Otherwise, or without kernels for the device, the CPU does it. On a device the work is queued on torch's current
        stream, and nothing waits for it but copies from the host and to it. Padding bits that are on a device are
        therefore not checked: they count in no distance.
    """
    return _hamming.topk(queries, database, k, bits=bits, allow=allow, threads=threads)


def range_search(
    queries: Any,
    database: Any,
    radius: int,
    *,
    bits: int | None = None,
    allow: Any = None,
    threads: int | None = None,
) -> tuple[Any, Any, Any]:
    """Every code at Hamming distance <= radius (inclusive) of each query.

    Args:
        radius: at least 0. The others as in ``knn``; so are devices, but that a device is waited for once, or once
            a chunk: the number of hits is the size of the result.
    Returns:
        lims int64 [nq + 1], distances int32 [lims[nq]] and ids int64 [lims[nq]]: the hits of query q are
        ``[lims[q]:lims[q + 1]]``, by (distance, id) ascending.
    Raises:
        TypeError, ValueError: as ``knn``.
    """
    return _hamming.range_search(queries, database, radius, bits=bits, allow=allow, threads=threads)
