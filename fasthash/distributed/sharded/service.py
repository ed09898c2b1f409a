"""An index's actors and what is asked of them, from their start to their end."""

from __future__ import annotations

import os
from typing import Any

from numpy.typing import NDArray

from fasthash._arguments import MAX_THREADS
from fasthash.distributed.sharded.calls import Asking, Call
from fasthash.distributed.sharded.checks import Options
from fasthash.distributed.sharded.folder import Folder
from fasthash.distributed.sharded.placement import cpus_of
from fasthash.distributed.sharded.questions import shared
from fasthash.distributed.sharded.replicas import Replica, Replicas, Spec
from fasthash.distributed.sharded.status import ReplicaStatus, ShardStatus

_PATIENCE = 5.0  # seconds that ``status`` waits
_MOVES = 4  # times that actors are looked for where they should be


class Service:
    """All that an index has running."""

    def __init__(self, ray: Any, folder: Folder, *, mmap: bool, options: Options, op: str) -> None:
        """Start the actors and let each of them open its files."""
        self._ray, self._folder, self.timeout = ray, folder, options.timeout
        self._process = os.getpid()
        shards = len(folder.version.layout)
        self.threads = options.threads or min(MAX_THREADS, max(1, cpus_of(ray) // shards))
        spec = Spec(str(folder.path), folder.bits, mmap, options.num_cpus)
        self._replicas = Replicas(ray, shards, options.replicas, spec)
        try:
            asking = self.asking(op)
            for _ in range(_MOVES):
                if self._replicas.settled(asking.answers(self._opening())):
                    break
        except BaseException:
            self._replicas.close()  # the folder is for whoever made it
            raise

    def _opening(self) -> list[Call]:
        """Every replica opens its files."""
        version = self._folder.version
        return [
            Call(replica.shard, "open", (version.number, version.files(replica.shard)), replica.number)
            for replica in self._replicas
        ]

    def asking(self, op: str) -> Asking:
        """For the questions of one call of the index; ``op`` names it in errors."""
        self.check_open(op)
        return Asking(self._replicas, self.timeout, op)

    def check_open(self, op: str) -> None:
        """RuntimeError after ``close``, or where Ray does not reach the actors any more."""
        if self._replicas.closed:
            raise RuntimeError(f"{op}: the index is closed")
        if self._process != os.getpid():
            raise RuntimeError(f"{op}: the index was opened before this process was forked; load its folder here")
        if not self._ray.is_initialized():
            raise RuntimeError(f"{op}: Ray was shut down, and the actors of the index with it; load its folder again")

    def shared(self, array: NDArray[Any], calls: int) -> Any:
        """An array that goes into several calls."""
        return shared(self._ray, array, calls)

    def status(self, op: str) -> tuple[ShardStatus, ...]:
        """``ShardedIndex.status``."""
        self.check_open(op)
        asked = [(replica, *self._replicas.call(replica, "about", ())) for replica in self._replicas]
        references = [reference for _, reference, _ in asked]
        ready, _ = self._ray.wait(references, num_returns=len(references), timeout=_PATIENCE)
        found = {
            (replica.shard, replica.number): self._seen(replica, actor, reference if reference in ready else None)
            for replica, reference, actor in asked
        }
        version = self._folder.version
        return tuple(
            ShardStatus(
                shard,
                sum(segment.rows.size for segment in segments),
                tuple(segment.entry.file for segment in segments),
                tuple(found[shard, replica.number] for replica in self._replicas.of(shard)),
            )
            for shard, segments in enumerate(version.layout)
        )

    def _seen(self, replica: Replica, actor: Any, reference: Any) -> ReplicaStatus:
        """What a replica answered; None: nothing yet."""
        if reference is not None:
            try:
                node, pid = self._ray.get(reference)
            except self._ray.exceptions.RayError:
                self._replicas.lost(replica, actor)
            else:
                self._replicas.done(replica, actor, answered=True)
                return ReplicaStatus(True, node, pid, replica.restarts)
        self._replicas.done(replica, actor, answered=False)  # nobody waits for it any more
        return ReplicaStatus(False, None, None, replica.restarts)

    def close(self) -> None:
        """End the actors, let others write the folder. Of a forked process they are not to be ended."""
        if self._process != os.getpid():
            return
        self._replicas.close()
        self._folder.close()
