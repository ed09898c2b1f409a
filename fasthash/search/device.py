"""An index on a CUDA device: what ``BinaryIndex.to`` makes. Needs torch, which is loaded at the first use."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from fasthash import _native
from fasthash._arguments import thread_count, whole_number
from fasthash._hamming import MAX_K
from fasthash.search import storage
from fasthash.search.snapshot import Snapshot, read_only

if TYPE_CHECKING:
    from fasthash.search.index import BinaryIndex

ROOM = 1 << 30  # bytes that stay free on the device beside codes and ids: scratch memory and results


class DeviceIndex:
    """The rows that a ``BinaryIndex`` had when it was moved, on a CUDA device; read-only.

    Searches run on torch's current stream of that device. Where codes and ids, with a GiB beside them, do not fit its
    free memory, they stay on the host and every search streams through them (``streamed`` is then True): results are
    the same, and batches of many queries pay best.
    """

    def __init__(self, bits: int, rows: Snapshot, memory: str, device: Any) -> None:
        from fasthash._hamming_cuda import on_device  # late: needs torch

        self._bits, self._device, self._memory, self._size = bits, device, memory, rows.size
        ids = rows.listed_ids
        nbytes = rows.codes.nbytes + (0 if ids is None else ids.nbytes)
        self._host = rows if nbytes + ROOM > free_bytes(device) else None
        self._codes: Any = rows.codes if self._host is not None else on_device(rows.codes, device)
        self._ids: Any = ids if self._host is not None or ids is None else on_device(ids, device)

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        where = ", streamed" if self.streamed else ""
        return f"DeviceIndex(bits={self._bits}, codes={self._size}, device={str(self._device)!r}{where})"

    @property
    def bits(self) -> int:
        """Code length."""
        return self._bits

    @property
    def device(self) -> Any:
        """The torch.device that searches run on."""
        return self._device

    @property
    def streamed(self) -> bool:
        """Whether the codes stay on the host and pass through the device at every search."""
        return self._host is not None

    @property
    def codes(self) -> Any:
        """uint8 [n, ceil(bits / 8)] in the order of ``ids``; a tensor on the device, not to be changed.

        A read-only NumPy view where the index is streamed."""
        return read_only(self._codes) if self.streamed else self._codes

    @property
    def ids(self) -> Any:
        """int64 [n], ascending; where and of the kind that ``codes`` are (made on demand while they are 0, 1, ...)."""
        if self._host is not None:
            return read_only(self._host.ids)
        if self._ids is None:
            return importlib.import_module("torch").arange(self._size, device=self._device)
        return self._ids

    def search(self, queries: Any, k: int, allow: Any = None, threads: int | None = None) -> tuple[Any, Any]:
        """As ``BinaryIndex.search``; of the queries' kind and device, wherever they are. ``threads`` has no effect.

        Nothing waits for the device but copies from the host and to it, unless the index is streamed."""
        k = whole_number(k, 1, MAX_K, "DeviceIndex.search", "k")
        return self._run("topk", "search", queries, k, allow, threads)

    def range_search(
        self, queries: Any, radius: int, allow: Any = None, threads: int | None = None
    ) -> tuple[Any, Any, Any]:
        """As ``BinaryIndex.range_search``; waits once for the device: the number of hits is the size of the result."""
        radius = whole_number(radius, 0, sys.maxsize, "DeviceIndex.range_search", "radius")
        return self._run("range_search", "range_search", queries, radius, allow, threads)

    def save(self, path: str | os.PathLike[str]) -> None:
        """As ``BinaryIndex.save``, after a copy to the host."""
        rows = self._rows()
        storage.write(path, self._bits, rows.codes, rows.listed_ids)

    def to(self, device: Any) -> BinaryIndex | DeviceIndex:
        """The same rows on another device, or on the CPU as a ``BinaryIndex``; this index itself when it is there."""
        target = cuda_device(device)
        if target == self._device:
            return self
        rows = self._rows()
        if target is not None:
            return DeviceIndex(self._bits, rows, self._memory, target)
        from fasthash.search.index import BinaryIndex  # late: that module's `to` comes here

        return BinaryIndex._of(self._bits, rows, self._memory if self.streamed else "own")

    def add(self, packed: Any, ids: Any = None) -> NoReturn:
        """Refused: RuntimeError, like every change."""
        self._refuse("add")

    def update(self, ids: Any, packed: Any) -> NoReturn:
        """Refused: RuntimeError."""
        self._refuse("update")

    def remove(self, ids: Any) -> NoReturn:
        """Refused: RuntimeError."""
        self._refuse("remove")

    def _refuse(self, op: str) -> NoReturn:
        raise RuntimeError(f"DeviceIndex.{op}: the index is on {self._device}, read-only; change the one on the CPU")

    def _rows(self) -> Snapshot:
        """On the host."""
        if self._host is not None:
            return self._host
        return Snapshot(self._codes.cpu().numpy(), None if self._ids is None else self._ids.cpu().numpy(), self._size)

    def _run(self, function: str, op: str, queries: Any, limit: int, allow: Any, threads: int | None) -> Any:
        """A function of fasthash._hamming_cuda, its hits as ids."""
        from fasthash import _hamming_cuda

        op = f"DeviceIndex.{op}"
        thread_count(threads, op)
        if self._size == 0:
            raise ValueError(f"{op}: the index is empty; move one with codes")
        return getattr(_hamming_cuda, function)(
            queries, self._codes, limit, bits=self._bits, allow=allow, op=op, trusted=True,
            device=self._device, to_ids=self._to_ids,
        )  # fmt: skip

    def _to_ids(self, found: Any) -> Any:
        """The ids of rows, which are a tensor on the device; a missing hit stays one."""
        if self._ids is None:
            return found
        torch = importlib.import_module("torch")
        if self._host is not None:
            return torch.from_numpy(np.ascontiguousarray(self._host.to_ids(found.cpu().numpy()))).to(found.device)
        return torch.where(found < 0, found, self._ids[found.clamp(min=0)])


def moved(index: BinaryIndex, device: Any) -> BinaryIndex | DeviceIndex:
    """``BinaryIndex.to``."""
    target = cuda_device(device)
    if target is None:
        return index
    return DeviceIndex(index.bits, index._rows, index._memory, target)


def cuda_device(device: Any) -> Any:
    """A torch.device with its number, or None for the CPU.

    Raises:
        ValueError: neither the CPU nor a CUDA device.
        RuntimeError: there is no such device, or no kernels for one; one line says why.
    """
    if str(device) == "cpu":
        return None
    kind, _, number = str(device).partition(":")
    if kind != "cuda" or (number and not number.isdecimal()):
        raise ValueError(f"BinaryIndex.to: device must be 'cpu', 'cuda' or 'cuda:<number>', got {device!r}")
    why = _native.cuda_reason()
    if why is not None:
        raise RuntimeError(f"BinaryIndex.to: cannot use {device}: {why}")
    torch = importlib.import_module("torch")
    count = torch.cuda.device_count()
    place = int(number) if number else torch.cuda.current_device()
    if place >= count:
        raise RuntimeError(f"BinaryIndex.to: cannot use {device}: there are {count} CUDA devices, numbered from 0")
    return torch.device("cuda", place)


def free_bytes(device: Any) -> int:
    """Of the device's memory: what nobody has, and what torch keeps for later."""
    cuda = importlib.import_module("torch").cuda
    return int(cuda.mem_get_info(device)[0] + cuda.memory_reserved(device) - cuda.memory_allocated(device))
