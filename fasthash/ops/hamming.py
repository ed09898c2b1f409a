"""Exact k-nearest-neighbour search over packed codes as a torch operation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fasthash import _hamming
from fasthash._arguments import MAX_THREADS, check_allow, whole_number
from fasthash.codes import check_bits
from fasthash.ops._checks import check_codes, check_tensor, reference_distances
from fasthash.ops._registry import define, register

Hits = tuple[Tensor, Tensor]


def _fake(queries: Tensor, database: Tensor, k: int, bits: int, allow: Tensor | None) -> Hits:
    shape = (queries.shape[0], k)
    return queries.new_empty(shape, dtype=torch.int32), queries.new_empty(shape, dtype=torch.int64)


def _check(queries: Tensor, database: Tensor, k: int, bits: int, allow: Tensor | None) -> None:
    """Everything that costs nothing to know; padding bits are looked at by the backends."""
    whole_number(k, 1, _hamming.MAX_K, "hamming_topk", "k")
    check_codes("hamming_topk", queries, database, bits)
    if allow is not None:
        if allow.device != queries.device:
            raise ValueError(f"hamming_topk: allow must be on {queries.device} like queries, got {allow.device}")
        check_allow(allow, len(database), "hamming_topk")


define("hamming_topk(Tensor queries, Tensor database, int k, int bits, Tensor? allow) -> (Tensor, Tensor)",
       fake=_fake, check=_check)  # fmt: skip


@register("hamming_topk", "reference")
def _reference(queries: Tensor, database: Tensor, k: int, bits: int, allow: Tensor | None) -> Hits:
    if allow is not None and allow.dtype == torch.uint8:
        places = torch.arange(7, -1, -1, device=queries.device)
        allow = (allow[:, None] >> places & 1).bool().flatten()[: len(database)]
    distances, ids = _fake(queries, database, k, bits, allow)
    distances.fill_(_hamming.NO_DISTANCE)
    ids.fill_(_hamming.NO_ID)
    for q, row in enumerate(reference_distances("hamming_topk", queries, database, bits)):
        found = torch.arange(len(database), device=queries.device) if allow is None else allow.nonzero()[:, 0]
        order = torch.sort(row[found], stable=True).indices[:k]  # stable: equal distances by ascending id
        distances[q, : len(order)] = row[found][order].int()
        ids[q, : len(order)] = found[order]
    return distances, ids


@register("hamming_topk", "cpp")
def _cpp(queries: Tensor, database: Tensor, k: int, bits: int, allow: Tensor | None) -> Hits:
    threads = min(torch.get_num_threads(), MAX_THREADS)
    return _hamming.topk(queries, database, k, bits=bits, allow=allow, threads=threads, op="hamming_topk")


@register("hamming_topk", "cuda")
def _cuda(queries: Tensor, database: Tensor, k: int, bits: int, allow: Tensor | None) -> Hits:
    return _hamming.topk(queries, database, k, bits=bits, allow=allow, op="hamming_topk")


def hamming_topk(
    queries: Tensor, database: Tensor, k: int, *, bits: int | None = None, allow: Tensor | None = None
) -> Hits:
    """The k nearest codes of each query by Hamming distance; exact and equal on every backend, to the bit.

    Args:
        queries: uint8 [nq, ceil(bits / 8)], nq >= 1.
        database: uint8 [nb, ceil(bits / 8)], nb >= 1, contiguous, on the device of ``queries``.
        k: hits wanted, at least 1; may exceed nb.
        bits: code length; 8 x bytes when left out.
        allow: which codes may be hits: bool [nb], or a packed bitmask uint8 [ceil(nb / 8)], first code highest bit.
    Returns:
        distances int32 [nq, k] in bits and ids int64 [nq, k], by (distance, id) ascending; missing hits are
        (2147483647, -1). Nothing here has a gradient.
    Raises:
        TypeError: an argument is no tensor, or k no whole number.
        ValueError: wrong dtype, shape, device or k, or a non-zero padding bit on the CPU.
    Threads: on ``cpp`` those of ``torch.get_num_threads()``.
    Memory: O(nq * k) beyond the inputs on ``cpp``, at most 72 MiB and 8 KiB a bit of the codes more on ``cuda``.
    On a device nothing waits: padding bits are not checked there, they count in no distance.
    """
    for name, x in (("queries", queries), ("database", database), ("allow", allow)):
        if x is not None or name != "allow":
            check_tensor("hamming_topk", name, x)
    k = whole_number(k, 1, _hamming.MAX_K, "hamming_topk", "k")
    if bits is None:
        bits = 8 * database.shape[1] if database.ndim == 2 else 8  # the op itself refuses other shapes
    arguments: tuple[Any, ...] = (queries, database, k, check_bits(bits, "hamming_topk"), allow)
    return torch.ops.fasthash.hamming_topk(*arguments)
