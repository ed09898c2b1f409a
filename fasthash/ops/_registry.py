"""Operations and their backends: the one place that chooses what runs.

An operation is defined once, as a torch.library op with a schema and a fake; each backend registers a function with the
schema's arguments. At each call the fastest backend that can run for these tensors is taken, unless ``use_backend`` or
FASTHASH_BACKEND names one. A backend is loaded at its first use; a failed load keeps its reason.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, overload

import torch
from torch import Tensor

from fasthash import _native

BACKENDS = ("cuda", "triton", "cpp", "reference")  # fastest first

Function = Callable[..., Any]
Reason = str | None  # why something cannot run; None when it can

_LIBRARY = torch.library.Library("fasthash", "FRAGMENT")
_OPS: dict[str, _Op] = {}
_forced: str | None = None


@dataclass(frozen=True)
class _Backend:
    run: Function
    accepts: Callable[..., Reason] | None


@dataclass
class _Op:
    name: str
    check: Callable[..., None] | None
    backends: dict[str, _Backend] = field(default_factory=dict)

    def __call__(self, *args: Any) -> Any:
        if self.check is not None:
            self.check(*args)
        device = self.device(args)
        run = self.backends[self.choose(device.type, args)].run
        if device.type == "cuda":  # launches go to the current device, which need not be the tensors'
            with torch.cuda.device(device):
                return _without_autocast(run, device.type, args)
        return _without_autocast(run, device.type, args)

    def device(self, args: tuple[Any, ...]) -> torch.device:
        """The one device of the tensors."""
        found: torch.device | None = None
        for x in args:
            if isinstance(x, Tensor):
                device = x.device
                if found is None:
                    found = device
                elif device != found:
                    raise ValueError(f"{self.name}: tensors must be on one device, got {found} and {device}")
        assert found is not None
        return found

    def choose(self, device: str, args: tuple[Any, ...]) -> str:
        """The backend for these arguments: the forced one, or the fastest that takes them."""
        forced = forced_backend()
        if forced is not None:
            why = self.why_not(forced, device, args)
            if why is not None:
                raise RuntimeError(f"{self.name}: backend {forced!r} cannot run: {why}")
            return forced
        for name in BACKENDS:
            if name == "triton" and device == "cpu":
                continue  # interpreted Triton is for tests: only when it is asked for
            if name in self.backends and self.why_not(name, device, args) is None:
                return name
        raise RuntimeError(
            f"{self.name}: no backend takes these tensors on {device}; it has {', '.join(self.backends)}"
        )

    def why_not(self, name: str, device: str, args: tuple[Any, ...]) -> Reason:
        """Why a backend cannot run for these arguments. Asks for the device first, so that nothing loads in vain."""
        if name not in self.backends:
            return f"{self.name} has only {', '.join(self.backends)}"
        if name in ("cuda", "triton") and device != "cuda" and not (name == "triton" and device == "cpu"):
            return f"it takes CUDA tensors, got {device}"
        if name == "cpp" and device != "cpu":
            return f"it takes CPU tensors, got {device}"
        why = unavailable(name)
        if why is not None:
            return why
        if name == "triton" and device == "cpu" and not interpreted():
            return "it takes CUDA tensors, got cpu (CPU tensors only with TRITON_INTERPRET=1 set before the start)"
        accepts = self.backends[name].accepts
        return accepts(*args) if accepts is not None else None


def _without_autocast(run: Function, device: str, args: tuple[Any, ...]) -> Any:
    """An op computes in the dtype of its inputs."""
    if not torch.is_autocast_enabled(device):
        return run(*args)
    with torch.autocast(device, enabled=False):
        return run(*args)


def define(schema: str, *, fake: Function, check: Callable[..., None] | None = None) -> None:
    """Make ``torch.ops.fasthash.<name>``.

    Args:
        schema: as torch.library takes it: "hamming_topk(Tensor queries, Tensor database, int k) -> (Tensor, Tensor)".
            The tensors of one call are on one device; results never alias arguments.
        fake: the schema's arguments to empty results of the right shape and dtype, for torch.compile.
        check: the schema's arguments to None, run before any backend: raises for values that cannot be right.
    """
    op = _Op(schema.partition("(")[0], check)
    _LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(op.name, op, "CompositeExplicitAutograd")
    torch.library.register_fake(f"fasthash::{op.name}", fake, lib=_LIBRARY)
    _OPS[op.name] = op


def register(op: str, backend: str, *, accepts: Callable[..., Reason] | None = None) -> Callable[[Function], Function]:
    """Decorator: this function is a backend of an op.

    Args:
        op: name of a defined op.
        backend: reference, cpp, triton or cuda.
        accepts: the schema's arguments to None, or to the reason why this backend cannot take them ("float64 codes").
    """
    _known(backend, "register")

    def add(run: Function) -> Function:
        _OPS[op].backends[backend] = _Backend(run, accepts)
        return run

    return add


class use_backend:
    """Force one backend for every operation, in the whole process.

    As a plain call it holds until changed, ``use_backend(None)`` goes back to the fastest; in a ``with`` statement it
    holds for the block. It wins over the environment variable FASTHASH_BACKEND.

    Args:
        name: "reference", "cpp", "triton", "cuda" or None.
    Raises:
        ValueError: no such backend. A backend that cannot run raises RuntimeError with the reason at the first call.
    """

    def __init__(self, name: str | None) -> None:
        global _forced
        if name is not None:
            _known(name, "use_backend")
        self._before, _forced = _forced, name

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        global _forced
        _forced = self._before


def forced_backend() -> str | None:
    """What use_backend or FASTHASH_BACKEND asks for; None when neither does."""
    if _forced is not None:
        return _forced
    name = os.environ.get("FASTHASH_BACKEND")
    return _known(name, "FASTHASH_BACKEND") if name else None


@overload
def backends() -> dict[str, dict[str, Reason]]: ...
@overload
def backends(op: str, *, native: bool = False) -> list[str]: ...
def backends(op: str | None = None, *, native: bool = False) -> dict[str, dict[str, Reason]] | list[str]:
    """What can run on this machine.

    Args:
        op: name of an operation; None for all of them.
        native: leave out Triton where it is interpreted.
    Returns:
        With a name, the backends that can run, fastest first. Without, {operation: {backend: None, or why it cannot}}.
    Raises:
        ValueError: no such operation.
    """
    if op is None:
        return {name: {b: unavailable(b) for b in BACKENDS if b in _OPS[name].backends} for name in sorted(_OPS)}
    if op not in _OPS:
        raise ValueError(f"backends: expected one of {', '.join(sorted(_OPS))}, got {op!r}")
    names = [b for b in BACKENDS if b in _OPS[op].backends and unavailable(b) is None]
    return [b for b in names if not (native and b == "triton" and interpreted())]


@functools.cache
def unavailable(backend: str) -> Reason:
    """Why a backend cannot run on this machine at all, or None. Loads it at the first call and keeps the answer."""
    if backend == "cpp":
        return _native.reason()
    if backend == "cuda":
        return _native.cuda_reason()
    if backend == "triton":
        return _triton_reason()
    return None


def interpreted() -> bool:
    """Whether Triton kernels run in Triton's interpreter (TRITON_INTERPRET=1), on any device."""
    from fasthash._kernels import INTERPRETED

    return bool(INTERPRETED)


def _triton_reason() -> Reason:
    try:
        from fasthash._kernels import INTERPRETED
    except ImportError as error:
        return f"{error}; install it with: pip install 'fasthash[triton]'"
    if INTERPRETED or torch.cuda.is_available():
        return None
    return "no CUDA device: torch.cuda.is_available() is False (CPU tensors only with TRITON_INTERPRET=1)"


def _known(name: str, where: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"{where}: expected one of {', '.join(reversed(BACKENDS))}, got {name!r}")
    return name
