"""The actors of all shards: started where they belong, started again when they are lost."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

from fasthash.distributed.sharded.actor import ShardReader
from fasthash.distributed.sharded.placement import choose_node, usable_nodes

_CALLS_AT_ONCE = 8  # of threads of the driver; more wait in the actor


class Spec(NamedTuple):
    """What every actor is started with."""

    folder: str
    bits: int
    mmap: bool
    num_cpus: float


class Replica:
    """One actor of a shard, or the one that took its place."""

    def __init__(self, shard: int, number: int) -> None:
        self.shard, self.number = shard, number
        self.actor: Any = None
        self.node: str | None = None  # where it was asked to be started
        self.restarts = 0
        self.waiting = 0  # calls that it has not answered
        self.left: list[Any] = []  # references of those that nobody waits for any more
        self.answered = False  # since it was started


class Replicas:
    """All actors. Any number of threads may use them."""

    def __init__(self, ray: Any, shards: int, replicas: int, spec: Spec) -> None:
        self.ray, self._spec = ray, spec
        self._lock = threading.Lock()
        self._turn = 0
        self.closed = False
        self._all = [[Replica(shard, number) for number in range(replicas)] for shard in range(shards)]
        self._make = ray.remote(ShardReader)
        nodes = usable_nodes(ray.nodes())
        for replica in self:
            self._start(replica, nodes)

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Any:
        return (replica for shard in self._all for replica in shard)

    def of(self, shard: int) -> Sequence[Replica]:
        """The replicas of a shard."""
        return self._all[shard]

    def chosen(self, shard: int, avoid: Sequence[Any]) -> Replica | None:
        """The replica that has least to do, one that is starting only when no other is there.

        Args:
            avoid: actors that cannot answer; None when no other is left.
        """
        with self._lock:
            for replica in self._all[shard]:
                if replica.left:
                    left = replica.left
                    _, replica.left = self.ray.wait(left, num_returns=len(left), timeout=0)
                    replica.waiting -= len(left) - len(replica.left)
            able = [replica for replica in self._all[shard] if replica.actor not in avoid]
            self._turn += 1
            first, count = self._turn, len(self._all[shard])
            return min(able, key=lambda x: (not x.answered, x.waiting, (x.number - first) % count), default=None)

    def call(self, replica: Replica, method: str, arguments: Sequence[Any]) -> tuple[Any, Any]:
        """(reference of the answer, the actor that was asked)."""
        with self._lock:
            if self.closed:
                raise RuntimeError("ShardedIndex: the index is closed")
            actor = replica.actor
            replica.waiting += 1
        return getattr(actor, method).remote(*arguments), actor

    def done(self, replica: Replica, actor: Any, answered: bool) -> None:
        """A call that ``call`` made has ended."""
        with self._lock:
            if replica.actor is actor:
                replica.waiting -= 1
                replica.answered = replica.answered or answered

    def leave(self, replica: Replica, actor: Any, reference: Any) -> None:
        """Nobody waits for a call any more; until the actor has answered it, other replicas come first."""
        with self._lock:
            if replica.actor is actor:
                replica.left.append(reference)

    def lost(self, replica: Replica, actor: Any) -> None:
        """Start another actor in place of this one, once however many calls noticed."""
        nodes = usable_nodes(self.ray.nodes())
        with self._lock:
            if replica.actor is not actor or self.closed:
                return
            self.ray.kill(actor)  # one that is out of reach only must not come back beside the new one
            replica.restarts += 1
            self._start(replica, nodes)

    def settled(self, found: Sequence[str]) -> bool:
        """Whether all are where they were asked to be started; those that are not are started there again.

        Ray starts an actor elsewhere while it does not know the resources of a node that has just joined.

        Args:
            found: the nodes where they are, one for each in the order of iteration.
        """
        nodes, settled = usable_nodes(self.ray.nodes()), True
        with self._lock:
            for replica, node in zip(self, found, strict=True):
                if replica.node in nodes and replica.node != node:
                    self.ray.kill(replica.actor)
                    self._start(replica, [replica.node])
                    settled = False
                else:
                    replica.node = node
        return settled

    def _start(self, replica: Replica, nodes: Sequence[str]) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        mine = [other.node for other in self.of(replica.shard) if other is not replica and other.actor is not None]
        rest = [other.node for other in self if other.shard != replica.shard]
        replica.node = choose_node(nodes, mine, rest)
        where = None if replica.node is None else NodeAffinitySchedulingStrategy(replica.node, soft=True)
        spec = self._spec
        options = {"num_cpus": spec.num_cpus, "max_restarts": 0, "max_concurrency": _CALLS_AT_ONCE}
        replica.actor = self._make.options(**options, scheduling_strategy=where).remote(
            spec.folder, spec.bits, spec.mmap
        )
        replica.waiting, replica.left, replica.answered = 0, [], False

    def close(self) -> None:
        """End the actors."""
        with self._lock:
            if not self.closed and self.ray.is_initialized():
                for replica in self:
                    self.ray.kill(replica.actor)
            self.closed = True
