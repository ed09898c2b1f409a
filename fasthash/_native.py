"""Loads the native module once, keeps the reason when it cannot, and turns arrays of any kind into pointers."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

ISAS = ("scalar", "avx2", "avx512", "neon")  # in the order of csrc/cpu/isa.h
BF16 = ("none", "avx512_bf16", "amx_bf16")  # likewise

_module: ModuleType | None = None
_reason: str | None = None
_forced_isa: str | None = None
_forced_bf16: str | None = None
_forced_kernel = ""


def load() -> ModuleType:
    """The compiled module ``fasthash._C``.

    Raises:
        RuntimeError: it was not built or does not load on this machine; says why and what to do.
    """
    why = reason()
    if why is not None:
        raise RuntimeError(f"fasthash's native module is not available: {why}")
    assert _module is not None
    return _module


def reason() -> str | None:
    """Why the native module cannot be used, or None when it can. Tries to load it at the first call."""
    global _module, _reason
    if _module is None and _reason is None:
        try:
            _module = importlib.import_module("fasthash._C")
        except ImportError as error:
            _reason = f"{error}; build it with `pip install .` or `python setup.py build_ext --inplace`"
    return _reason


@functools.cache
def isa_names() -> tuple[str, ...]:
    """The CPU instruction sets that can run here, slowest first."""
    best = ISAS[load().best_isa()]
    return ("scalar", "neon") if best == "neon" else ISAS[: ISAS.index(best) + 1]


def isa() -> int:
    """Index in ISAS of the one to use: the widest, unless ``use_isa`` or FASTHASH_ISA says otherwise."""
    name = _forced_isa or os.environ.get("FASTHASH_ISA") or None
    names = isa_names()
    if name is None:
        return ISAS.index(names[-1])
    if name not in names:
        raise ValueError(f"FASTHASH_ISA: expected one of {', '.join(names)} on this machine, got {name!r}")
    return ISAS.index(name)


@contextmanager
def use_isa(name: str) -> Iterator[None]:
    """Force one instruction set inside a ``with`` block (tests and benchmarks)."""
    global _forced_isa
    if name not in isa_names():
        raise ValueError(f"use_isa: expected one of {', '.join(isa_names())} on this machine, got {name!r}")
    before, _forced_isa = _forced_isa, name
    try:
        yield
    finally:
        _forced_isa = before


@functools.cache
def bf16_names() -> tuple[str, ...]:
    """The products of bfloat16 numbers that can run here, slowest first; "none" stands for float32."""
    return BF16[: load().best_bf16() + 1]


def bf16() -> int:
    """Index in BF16 of the one to use: the fastest, unless ``use_bf16`` or FASTHASH_BF16 says otherwise."""
    name = _forced_bf16 or os.environ.get("FASTHASH_BF16") or None
    names = bf16_names()
    if name is None:
        return BF16.index(names[-1])
    if name not in names:
        raise ValueError(f"FASTHASH_BF16: expected one of {', '.join(names)} on this machine, got {name!r}")
    return BF16.index(name)


@contextmanager
def use_bf16(name: str) -> Iterator[None]:
    """Force one kind of bfloat16 products, or "none", inside a ``with`` block (tests and benchmarks)."""
    global _forced_bf16
    if name not in bf16_names():
        raise ValueError(f"use_bf16: expected one of {', '.join(bf16_names())} on this machine, got {name!r}")
    before, _forced_bf16 = _forced_bf16, name
    try:
        yield
    finally:
        _forced_bf16 = before


def kernel() -> str:
    """The block kernel of searches on the CPU, or "" for the one that the calibration names."""
    return _forced_kernel


@contextmanager
def use_kernel(name: str) -> Iterator[None]:
    """Force one block kernel of ``load().hamming_kernels`` inside a ``with`` block (tests, benchmarks, calibration)."""
    global _forced_kernel
    names = load().hamming_kernels
    if name not in names:
        raise ValueError(f"use_kernel: expected one of {', '.join(names)}, got {name!r}")
    before, _forced_kernel = _forced_kernel, name
    try:
        yield
    finally:
        _forced_kernel = before


def cuda_reason() -> str | None:
    """Why csrc's CUDA kernels cannot run, or None when they can. Asks torch, when loaded or loadable, for a device."""
    why = reason()
    if why is not None:
        return why
    built = load().no_cuda_reason
    if built:
        return f"the native module has no CUDA kernels: {built}"
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return "torch is not installed"
    return None if torch.cuda.is_available() else "no CUDA device: torch.cuda.is_available() is False"


def is_torch(x: Any) -> bool:
    """Whether x is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def is_cuda(x: Any) -> bool:
    """Whether x lives on a CUDA device: a torch tensor there, or anything with ``__cuda_array_interface__``."""
    if is_torch(x):
        return bool(x.is_cuda)
    return hasattr(x, "__cuda_array_interface__")


def on_device(queries: Any, database: Any) -> bool:
    """Whether a CUDA device does a search: that of the database, or else that of the queries if it has kernels."""
    return is_cuda(database) or (is_cuda(queries) and cuda_reason() is None)


def to_numpy(x: Any, op: str, name: str) -> NDArray[Any]:
    """x as a NumPy array: no copy for NumPy and CPU torch; a copy to the host for CUDA.

    Raises:
        TypeError: x is no array ("knn: queries must be a NumPy array or torch tensor, got list"), or one that is not
            all there: masked, sparse, on the meta device.
    """
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{op}: {name} must be an array without a mask, got a NumPy masked array")
    if isinstance(x, np.ndarray):
        return x
    if is_torch(x):
        if str(x.layout) != "torch.strided":
            raise TypeError(f"{op}: {name} must be a dense tensor, got layout {x.layout}")
        if x.is_meta:
            raise TypeError(f"{op}: {name} must be a tensor with data, got one on the meta device")
        try:
            return x.detach().cpu().numpy()
        except TypeError:  # bfloat16 has no NumPy counterpart
            return x.detach().cpu().float().numpy()
    if hasattr(x, "__dlpack__"):
        return np.from_dlpack(x)
    raise TypeError(f"{op}: {name} must be a NumPy array or torch tensor, got {type(x).__name__}")


def like(result: NDArray[Any], origin: Any) -> Any:
    """result as the kind of array, and on the device, that origin is."""
    if not is_torch(origin):
        return result
    torch = sys.modules["torch"]
    return torch.from_numpy(np.ascontiguousarray(result)).to(origin.device)


def address(x: NDArray[Any] | None) -> int:
    """The address of an array's first byte; 0 for None. The caller keeps the array alive."""
    return 0 if x is None else load().address(x)  # a fifth of the time of x.ctypes.data
