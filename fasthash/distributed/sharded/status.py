"""What ``ShardedIndex.status`` says."""

from __future__ import annotations

from typing import NamedTuple


class ReplicaStatus(NamedTuple):
    """One actor that answers for a shard."""

    alive: bool  # whether it answered just now
    node: str | None  # hex id of the node it runs on; None where it did not answer
    pid: int | None  # its process there
    restarts: int  # how often it was lost and started again


class ShardStatus(NamedTuple):
    """One shard."""

    shard: int
    rows: int
    files: tuple[str, ...]  # names in the folder
    replicas: tuple[ReplicaStatus, ...]

    @property
    def alive(self) -> int:
        """Replicas that answered just now."""
        return sum(replica.alive for replica in self.replicas)

    @property
    def restarts(self) -> int:
        """Restarts of all replicas."""
        return sum(replica.restarts for replica in self.replicas)
