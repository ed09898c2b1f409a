"""Where a replica is started: on the node that has fewest of its shard, then fewest at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def usable_nodes(nodes: Sequence[dict[str, Any]]) -> list[str]:
    """Ids of the nodes of ``ray.nodes()`` that are alive, those without CPUs left out where others have some."""
    alive = [node for node in nodes if node["Alive"]]
    working = [node for node in alive if node["Resources"].get("CPU", 0) > 0]
    return sorted(node["NodeID"] for node in working or alive)


def choose_node(nodes: Sequence[str], same_shard: Sequence[str | None], others: Sequence[str | None]) -> str | None:
    """One of the nodes; None when there is none.

    Args:
        same_shard: nodes where the other replicas of the shard are.
        others: nodes where the replicas of other shards are.
    """
    return min(nodes, key=lambda node: (same_shard.count(node), others.count(node), node), default=None)


def cpus_of(ray: Any) -> int:
    """CPUs of the whole cluster, as Ray counts them; at least 1."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))
