"""The other processes of a machine: the same program again, one for each device, watched until they end.

They are told their rank in the environment, as Lightning Fabric and torchrun have it, and Fabric makes the group of
them. Fabric would start them as well, but ends everything without a word when one of them dies.
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import threading
import time
from types import TracebackType
from typing import Any

_POLL = 0.2  # seconds between looks at the processes
_SETTLE = 3.0  # seconds in which a process that died is found out, after the exchange with it failed
_PATIENCE = 20.0  # seconds that this process may take to notice that another one died; an exchange may wait for ever
_LEAVE = 60.0  # seconds for the others to end behind this one
_WORDS = ("connection closed by peer", "connection reset by peer", "gloo", "nccl", "broken pipe", "socket")
_LOST = 75  # exit code of a process that ended because another one had gone
PARENT = "FASTHASH_PARENT"  # the process that started this one
_children: list[subprocess.Popen[bytes]] = []  # of this process, for every run that it makes with them


class LostProcess(RuntimeError):
    """Another process of the run has gone."""


class Processes:
    """Context in which the processes of this machine train together; the first one starts the others.

    Args:
        op: the first word of errors.
        devices: processes of this machine. nodes: machines.
        started: whether they are there already; nothing is started, and errors of the exchange are told all the same.
        hint: what else an error says.
    """

    def __init__(self, op: str, devices: int, nodes: int, *, started: bool, hint: str = "") -> None:
        self.op, self.devices, self.nodes, self.hint = op, devices, nodes, hint
        self.starts = not started and devices * nodes > 1
        self.is_started = PARENT in os.environ and devices > 1  # by the first process of this machine
        self._ending = threading.Event()

    def __enter__(self) -> Processes:
        if self.starts:
            self._start()
        if _children:
            threading.Thread(target=self._watch, daemon=True).start()
        elif self.is_started:
            threading.Thread(target=_end_with, args=(int(os.environ[PARENT]),), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ending.set()
        if error is None:
            return
        lost = isinstance(error, RuntimeError) and self.devices * self.nodes > 1 and _is_lost(error)
        if self.is_started and (lost or isinstance(error, (KeyboardInterrupt, FloatingPointError))):
            raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else _LOST) from None  # the first one tells
        if self.is_started:
            time.sleep(_SETTLE / 2)  # where the first one has met the same error it tells it, and ends this process
            return
        if lost and _is_taken(error):
            _end(0.0)
            port = os.environ.get("MASTER_PORT")
            raise RuntimeError(f"{self.op}: MASTER_PORT {port} is taken on this machine; name another") from error
        if lost and not _children:
            raise LostProcess(f"{self.op}: another process of the run has ended{self.hint}") from error
        if lost:
            line = self._line(_SETTLE)
            _end(0.0)
            raise LostProcess(line) from error
        # all stop at the same step after Ctrl-C, and need no help with it
        _end(_LEAVE if isinstance(error, KeyboardInterrupt) and str(error) else 0.0)

    def _start(self) -> None:
        given = os.environ
        given.setdefault("MASTER_ADDR", "127.0.0.1")
        given.setdefault("MASTER_PORT", str(_free_port()))
        node = int(given.setdefault("NODE_RANK", "0"))
        given |= {"LOCAL_RANK": "0", "RANK": str(node * self.devices)}
        given |= {"LOCAL_WORLD_SIZE": str(self.devices), "WORLD_SIZE": str(self.devices * self.nodes)}
        for local in range(1, self.devices):
            own = {"LOCAL_RANK": str(local), "RANK": str(node * self.devices + local), PARENT: str(os.getpid())}
            _children.append(subprocess.Popen(_command(), env=dict(given) | own))
        atexit.register(_end, _LEAVE)

    def _watch(self) -> None:
        """Speak for a process that died where this one does not notice, waiting in an exchange."""
        while not self._ending.wait(_POLL):
            if any(child.poll() is not None for child in _children):
                break
        if self._ending.wait(_SETTLE):
            return
        line = self._line(0.0)
        _end(0.0)
        if not self._ending.wait(_PATIENCE):
            print(f"fasthash: {line}", file=sys.stderr, flush=True)
            os._exit(2)

    def _line(self, patience: float) -> str:
        """Which process died first, as far as it can be told."""
        until = time.monotonic() + patience
        while True:
            codes = [(rank, child.poll()) for rank, child in enumerate(_children, start=2)]
            dead = [(rank, code) for rank, code in codes if code is not None and code != _LOST]
            if dead or time.monotonic() >= until:
                break
            time.sleep(_POLL)
        if not dead:
            return f"{self.op}: another process of the run has ended{self.hint}"
        # killed ones first: they did not end for the others; last those whose program was through
        rank, code = min(dead, key=lambda entry: (entry[1] == 0, entry[1]))
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"{self.op}: process {rank} of {self.devices} {how}{self.hint}"


def _end(patience: float) -> None:
    """Wait for the others to end by themselves, then kill them."""
    until = time.monotonic() + patience
    for child in _children:
        try:
            child.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _command() -> list[str]:
    """This program's own command."""
    main: Any = sys.modules["__main__"]
    # not argv[0]: the program may have gone to another folder since
    how = [main.__file__] if main.__spec__ is None else ["-m", main.__spec__.name]
    return [sys.executable, *how, *sys.argv[1:]]


def _is_lost(error: BaseException) -> bool:
    """Whether an exchange failed because somebody else has gone."""
    import torch.distributed as dist

    kinds = tuple(kind for name in ("DistBackendError", "DistNetworkError") if (kind := getattr(dist, name, None)))
    return isinstance(error, kinds) or any(word in str(error).lower() for word in _WORDS)


def _is_taken(error: BaseException) -> bool:
    """Whether the processes could not meet because somebody else listens at their port."""
    return "eaddrinuse" in str(error).lower() or "address already in use" in str(error).lower()


def _end_with(parent: int) -> None:
    """End this process when the one that started it has gone."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
