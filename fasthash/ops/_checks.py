"""Argument checks shared by the operations: one line naming the operation, the argument, what was expected and got."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from fasthash.codes import check_bits

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def describe(x: Any) -> str:
    """A tensor as "float32 [3, 64] on cpu"; anything else by its type."""
    if not isinstance(x, Tensor):
        return type(x).__name__
    return f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)} on {x.device}"


def check_tensor(op: str, name: str, x: Any) -> Tensor:
    """x itself when it is a tensor; TypeError otherwise."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{op}: {name} must be a torch tensor, got {type(x).__name__}")
    return x


def check_matrix(op: str, name: str, x: Any) -> Tensor:
    """x itself when it is a real floating matrix with at least one row and one column."""
    check_tensor(op, name, x)
    if x.dtype not in FLOATS:
        raise ValueError(f"{op}: {name} must be float64, float32, float16 or bfloat16, got {describe(x)}")
    if x.ndim != 2 or x.shape[0] == 0 or x.shape[1] == 0:
        raise ValueError(f"{op}: {name} must be a matrix with at least one row and one column, got {describe(x)}")
    return x


def check_same(op: str, name: str, x: Any, like_name: str, like: Tensor, *, rows: bool = False) -> Tensor:
    """x itself when it is a matrix as wide as ``like``, of its dtype and on its device (``rows``: and as long)."""
    check_matrix(op, name, x)
    if x.shape[1] != like.shape[1] or (rows and x.shape[0] != like.shape[0]):
        length = like.shape[0] if rows else "n"
        raise ValueError(f"{op}: {name} must be [{length}, {like.shape[1]}] like {like_name}, got {list(x.shape)}")
    if x.dtype != like.dtype or x.device != like.device:
        raise ValueError(
            f"{op}: {name} must have the dtype and device of {like_name} ({describe(like)}), got {describe(x)}"
        )
    return x


def of_one_dtype(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Under autocast the tensors in the widest of their dtypes; else as they are."""
    first = tensors[0]
    if all(x.dtype == first.dtype for x in tensors) or not torch.is_autocast_enabled(first.device.type):
        return tensors
    common = functools.reduce(torch.promote_types, (x.dtype for x in tensors))
    return tuple(x.to(common) for x in tensors)


def check_codes(op: str, queries: Tensor, database: Tensor, bits: int) -> None:
    """ValueError unless both are packed codes on one device; padding bits are not looked at."""
    width = (check_bits(bits, op) + 7) // 8
    for name, x in (("queries", queries), ("database", database)):
        if x.dtype != torch.uint8 or x.ndim != 2 or x.shape[0] == 0 or x.shape[1] != width:
            want = f"uint8 [n, {width}] for {bits} bits with at least one row"
            raise ValueError(f"{op}: {name} must be packed codes, {want}, got {describe(x)}")
    if not database.is_contiguous():
        raise ValueError(f"{op}: database must be contiguous, got strides {database.stride()}")
    if database.device != queries.device:
        raise ValueError(f"{op}: database must be on {queries.device} like queries, got {database.device}")


def reference_distances(op: str, queries: Tensor, database: Tensor, bits: int) -> Iterator[Tensor]:
    """The Hamming distances int64 [nb] of one query after the other: [nq, nb] could exceed the memory.

    Padding bits are checked on the CPU; on a device, where that would wait, they count in no distance.
    """
    unused = (1 << (-bits % 8)) - 1
    for name, x in (("queries", queries), ("database", database)):
        if unused and x.device.type == "cpu" and bool((x[:, -1] & unused).any()):
            raise ValueError(f"{op}: {name} has a non-zero padding bit after bit {bits}")
    places = torch.arange(7, -1, -1, device=queries.device)
    ones = (torch.arange(256, device=queries.device)[:, None] >> places & 1).sum(1)  # set bits of each byte
    for query in queries:
        unequal = query ^ database
        unequal[:, -1] &= 255 - unused
        yield ones[unequal.long()].sum(1)


def check_choice(op: str, name: str, value: Any, choices: tuple[str, ...]) -> str:
    """value itself when it is one of the choices."""
    if value not in choices:
        raise ValueError(f"{op}: {name} must be one of {', '.join(choices)}, got {value!r}")
    return str(value)


def check_finite(op: str, name: str, value: Any) -> float:
    """value as a float when it is a finite real number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Real)) or not abs(float(value)) < float("inf"):
        raise ValueError(f"{op}: {name} must be a finite number, got {value!r}")
    return float(value)


def check_share(op: str, name: str, value: Any) -> float:
    """value as a float when it is from 0 to 1."""
    share = check_finite(op, name, value)
    if not 0 <= share <= 1:
        raise ValueError(f"{op}: {name} must be from 0 to 1, got {value!r}")
    return share
