"""Questions to shards: each is answered, by another replica or a restarted one if need be, or an error says why."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from fasthash.distributed.sharded.actor import ShardUnreadable
from fasthash.distributed.sharded.placement import usable_nodes
from fasthash.distributed.sharded.replicas import Replica, Replicas

_LOSSES = 3  # of actors during one call, for each replica of its shard, before it is given up


class Call(NamedTuple):
    """A question to a shard."""

    shard: int
    method: str  # of ShardReader
    arguments: tuple[Any, ...]
    number: int | None = None  # the replica that must answer; None: any


class _Attempt:
    """A call and what has become of it so far."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.replica: Replica
        self.actor: Any = None
        self.reference: Any = None  # of an answer that nobody has looked at
        self.losses = 0
        self.unable: list[Any] = []  # actors that cannot read a file of the shard


class Asking:
    """Asks on behalf of one method of the index, which errors name."""

    def __init__(self, replicas: Replicas, timeout: float | None, op: str) -> None:
        self._replicas, self._ray, self._timeout, self._op = replicas, replicas.ray, timeout, op
        self._end = None if timeout is None else time.monotonic() + timeout

    def answers(self, calls: Sequence[Call]) -> list[Any]:
        """The answer to each call.

        Raises:
            RuntimeError: a shard that cannot be read, or whose actors are lost again and again.
            TimeoutError: the time is over.
        """
        attempts = [_Attempt(call) for call in calls]
        try:
            for attempt in attempts:
                self._send(attempt)
            return self._found(attempts)
        except BaseException:
            for attempt in attempts:
                if attempt.reference is not None:
                    self._replicas.leave(attempt.replica, attempt.actor, attempt.reference)
            raise

    def _found(self, attempts: Sequence[_Attempt]) -> list[Any]:
        """What all were asked."""
        try:  # one request for all of them; only when something is wrong are they looked at one by one
            found = self._ray.get([attempt.reference for attempt in attempts], timeout=self._left())
        except self._ray.exceptions.GetTimeoutError:
            raise self._too_late([x for x in attempts if not self._ray.wait([x.reference], timeout=0)[0]]) from None
        except self._ray.exceptions.RayError:
            return [self._answer(attempt) for attempt in attempts]
        for attempt in attempts:
            self._done(attempt, answered=True)
        return list(found)

    def stream(self, calls: Iterable[Call], at_once: int) -> Iterator[Any]:
        """The answers in order, with at most so many calls and their arguments in memory."""
        left = iter(calls)
        while some := list(islice(left, at_once)):
            yield from self.answers(some)

    def _answer(self, attempt: _Attempt) -> Any:
        """That of one call, which may have failed already."""
        errors = self._ray.exceptions
        while True:
            try:
                found = self._ray.get(attempt.reference, timeout=self._left())
            except errors.GetTimeoutError:
                raise self._too_late([attempt]) from None
            except errors.RayTaskError as error:
                self._done(attempt, answered=True)
                self._unable(attempt, error.cause)
            except errors.RayError as error:  # also killed for memory, or its answer lost with the node that held it
                self._lost(attempt, error)
            else:
                self._done(attempt, answered=True)
                return found
            self._send(attempt)

    def _send(self, attempt: _Attempt) -> None:
        call = attempt.call
        replica = self._replicas.chosen(call.shard, attempt.unable)
        if call.number is not None:
            replica = self._replicas.of(call.shard)[call.number]
        assert replica is not None  # _unable has raised when none is left
        attempt.replica = replica
        attempt.reference, attempt.actor = self._replicas.call(replica, call.method, call.arguments)

    def _unable(self, attempt: _Attempt, cause: BaseException) -> None:
        """Another replica may have the file open, or see another disk; when none is left, that is the answer."""
        shard = attempt.call.shard
        if not isinstance(cause, ShardUnreadable):
            raise RuntimeError(f"{self._op}: shard {shard} failed: {type(cause).__name__}: {cause}") from cause
        attempt.unable.append(attempt.actor)
        if attempt.call.number is not None or self._replicas.chosen(shard, attempt.unable) is None:
            line = f"{self._op}: shard {shard} cannot be read: {cause}"
            if len(usable_nodes(self._ray.nodes())) > 1:
                line += f" (node {attempt.replica.node}; every node must reach the folder by this path)"
            raise RuntimeError(line) from None

    def _done(self, attempt: _Attempt, answered: bool) -> None:
        self._replicas.done(attempt.replica, attempt.actor, answered)
        attempt.reference = None

    def _lost(self, attempt: _Attempt, error: Exception) -> None:
        self._done(attempt, answered=False)
        self._replicas.lost(attempt.replica, attempt.actor)
        attempt.losses += 1
        shard = attempt.call.shard
        if attempt.losses >= _LOSSES * len(self._replicas.of(shard)):
            raise RuntimeError(
                f"{self._op}: shard {shard} was lost {attempt.losses} times while it was asked: {_reason(error)}"
            ) from error

    def _left(self) -> float | None:
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def _too_late(self, attempts: Sequence[_Attempt]) -> TimeoutError:
        shards = sorted({attempt.call.shard for attempt in attempts})
        names = ", ".join(map(str, shards))
        line = f"{self._op}: no answer in {self._timeout:g} s (timeout) from shard {names} of {len(self._replicas)}"
        if any(not attempt.replica.answered for attempt in attempts):
            line += "; an actor that never answered may be waiting for CPUs (num_cpus) or for its node"
        return TimeoutError(line)


def _reason(error: Any) -> str:
    """Ray's reason on one line: its texts have many, with addresses and identifiers."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if getattr(error, "actor_init_failed", False):
        line = lines[-1]  # of the traceback
    else:
        detail = re.search(r"Worker exit detail: ([^\n]+)", str(error))
        line = detail[1].partition(" Some common causes")[0] if detail else lines[0]
    return line if len(line) <= 300 else line[:297] + "..."
