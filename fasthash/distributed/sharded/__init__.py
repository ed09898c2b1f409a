"""An exact index over shards that are searched by Ray actors."""

from fasthash.distributed.sharded.index import ShardedIndex
from fasthash.distributed.sharded.status import ReplicaStatus, ShardStatus

__all__ = ["ReplicaStatus", "ShardStatus", "ShardedIndex"]
