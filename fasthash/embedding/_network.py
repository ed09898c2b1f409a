"""What the encoders with a network share: loaded when first needed, run in batches, the same weights as before."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fasthash.features._progress import Progress
from fasthash.features._threads import batch_workers, gathered, in_order
from fasthash.features.base import Extractor, check_items

AUTOCAST = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
_LOADED = ("_network", "_loading", "_turn", "_transform")  # what is no part of a description
Self = TypeVar("Self", bound="NetworkEncoder")
Batch = tuple[int, Sequence[Any]]  # number of its first row, and the rows' items
Block = NDArray[np.float32]


class NetworkEncoder:
    """An `features.Extractor` around a network whose weights lie elsewhere: in a folder, a hub or a package.

    A class says how the network is loaded (`load`), how one item becomes its input (`read`) and several of them a batch
    (`collate`), both in a thread, and how a batch becomes features (`run`). A stored description loads nothing before
    something is encoded; weights that are not those of the description are then refused.

    Args:
        width: of the features; None: as the network shows.
        sha256: that the weights must have; None takes those that are found.
    """

    kind: ClassVar[str]
    items: ClassVar[str]  # pictures or texts
    batch: ClassVar[tuple[int, int]]  # items at a time on a CPU, whose caches hold few, and on a GPU

    def __init__(self, *, width: int | None = None, sha256: str | None = None) -> None:
        self._width, self._sha256 = width, sha256
        self._forget()

    def _forget(self) -> None:
        self._network: Any = None
        self._loading, self._turn = threading.Lock(), threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in _LOADED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()  # a copy loads for itself

    def load(self) -> nn.Module:
        """The network with its weights."""
        raise NotImplementedError

    def read(self, item: Any, name: str) -> Any:
        """The network's input for one item; in a thread."""
        return item

    def collate(self, network: Any, inputs: list[Any]) -> Any:
        """A batch of the inputs of m items."""
        return inputs

    def run(self, network: Any, batch: Any, device: torch.device) -> Tensor:
        """Features [m, width] of a batch."""
        raise NotImplementedError

    def extractor(self) -> Extractor:
        """What makes these features of new items, to be kept with a model."""
        return self

    def settings(self) -> dict[str, Any]:
        """What `from_config` builds the same encoder from; JSON-able."""
        raise NotImplementedError

    @property
    def network(self) -> Any:
        """The network, loaded now if it was not before.

        Raises:
            ValueError, FileNotFoundError, RuntimeError: one line: it is not there, or has other weights.
        """
        with self._loading:
            if self._network is None:
                with torch.random.fork_rng(devices=[]):
                    network = self.load().eval().requires_grad_(False)
                found = digest(network)
                if self._sha256 not in (None, found):
                    raise ValueError(
                        f"{self}: the features were made with weights {str(self._sha256)[:12]}, found are {found[:12]}"
                    )
                self._network, self._sha256 = network, found
        return self._network

    @property
    def width(self) -> int:
        if self._width is None:
            self._width = self._measure(self.network)
        return self._width

    def _measure(self, network: Any) -> int:
        return int(network.width)

    def encode(
        self,
        items: Sequence[Any],
        *,
        batch_size: int | None = None,
        device: str | None = None,
        progress: Progress = None,
    ) -> Block:
        """Features float32 [n, width] of n items, in float32.

        Args:
            items: a list of pictures (paths, `Picture`s, PIL images, uint8 arrays) or of texts.
            batch_size: items at a time; it changes memory and speed, the result by rounding alone.
            device: "cpu", "cuda", ...; default: CUDA when there is one.
            progress: a callback (done, total), or True for a bar in a terminal.
        """
        rows = check_items(items, f"{self.kind}.encode", self.items)
        target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        size = batch_size or self.batch[target.type != "cpu"]
        batches: Iterable[Batch] = ((i, rows[i : i + size]) for i in range(0, len(rows), size))
        blocks = self.stream(batches, target, workers=None if len(rows) > size else 0)
        return gathered(blocks, len(rows), self.width, f"{self.kind} features", progress)

    def stream(
        self,
        batches: Iterable[Batch],
        device: torch.device,
        *,
        precision: str = "32-true",
        workers: int | None = None,
        zeros: bool = False,
    ) -> Generator[Block, None, None]:
        """Features of the batches, in order; as many batches are under way as there are threads.

        Args:
            workers: threads that decode and run whole batches; default the CPUs, 4 for a GPU; 0: none, the caller's.
            zeros: an item that cannot be read gets a row of zeros.
        """
        network = self.network.to(device)

        def job(batch: Batch) -> Block:
            return self.features(network, batch, device, precision, zeros)

        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            if workers == 0:
                yield from map(job, batches)
                return
            with batch_workers(torch, device.type, workers) as (pool, count):
                yield from in_order(pool, job, batches, 2 * count)

    def features(self, network: Any, batch: Batch, device: torch.device, precision: str, zeros: bool) -> Block:
        """Features of one batch."""
        first, items = batch
        found = {i: self._read(item, first + i, zeros) for i, item in enumerate(items)}
        inputs = {i: value for i, value in found.items() if value is not None}
        out = np.zeros((len(items), self.width), np.float32)
        if inputs:
            collated = self.collate(network, list(inputs.values()))
            with self._alone(device), torch.inference_mode(), autocast(device, precision):
                made = self.run(network, collated, device)
            out[list(inputs)] = made.float().cpu().numpy()
        bad = np.flatnonzero(~np.isfinite(out).all(axis=1))
        if len(bad):
            raise ValueError(f"{self}: features of {self.items[:-1]} {first + bad[0]} are not finite in {precision}")
        return out

    def _read(self, item: Any, row: int, zeros: bool) -> Any:
        try:
            if item is None:
                raise ValueError("the pair has none")
            return self.read(item, f"{self.items[:-1]} {row}")
        except (OSError, ValueError) as error:
            if zeros:
                return None
            kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
            raise kind(f"{self}: {self.items[:-1]} of row {row}: {one_line(error)}") from None

    @contextmanager
    def _alone(self, device: torch.device) -> Iterator[None]:
        """On a GPU one batch at a time is in the network, whatever the number of threads that decode for it."""
        if device.type == "cpu":
            yield
        else:
            with self._turn:
                yield

    def config(self) -> dict[str, Any]:
        self.network  # noqa: B018  (its digest belongs to the description)
        return {"kind": self.kind, **self.settings(), "width": self.width, "sha256": self._sha256}

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {}

    @classmethod
    def from_config(cls: type[Self], config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Self:
        values = {name: value for name, value in config.items() if name != "kind"}
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"{cls.kind}: the description is damaged: {error}") from None


def autocast(device: torch.device, precision: str) -> Any:
    """The context of a precision; the weights stay float32 at any."""
    dtype = AUTOCAST[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def digest(network: nn.Module) -> str:
    """SHA-256 of the weights, wherever they were loaded from."""
    found = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        array = value.detach().cpu().contiguous()
        found.update(f"{name} {array.dtype} {tuple(array.shape)}\0".encode())
        found.update(array.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def place(name: str) -> str:
    """A model's name as it is; a folder or file by its whole path, so that a description holds from anywhere."""
    path = Path(name).expanduser()
    return str(path.absolute()) if path.exists() else name


def is_path(name: str) -> bool:
    """Whether it is written as a path, which no name of a model is."""
    return os.path.isabs(name) or name.startswith((".", "~"))


def one_line(error: BaseException) -> str:
    """The first line of what another library says, and the second where the first only announces it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
