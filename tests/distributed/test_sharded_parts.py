"""Where rows, files and replicas go; no cluster."""

from types import SimpleNamespace

import numpy as np
import pytest

from fasthash.distributed.sharded.changes import level_shares, spread
from fasthash.distributed.sharded.placement import choose_node, usable_nodes
from fasthash.distributed.sharded.replicas import Replicas, Spec
from fasthash.search.shard_files import ShardEntry


@pytest.mark.parametrize("seed", range(20))
def test_shares_level_the_shards(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 50, rng.integers(1, 8)).tolist()
    count = int(rng.integers(1, 200))
    shares = level_shares(sizes, count)
    assert sum(shares) == count
    assert min(shares) >= 0
    after = np.add(sizes, shares)
    taking = after[np.array(shares) > 0]
    assert taking.max() - taking.min() <= 1
    assert taking.max() <= after.min() + 1  # nobody who took stands above one who could have taken


def test_files_are_spread_by_their_rows():
    entries = [ShardEntry(f"{i}", count, 0, count, "") for i, count in enumerate([5, 9, 1, 4, 4, 7])]
    found = spread(entries, 3)
    assert sorted(entry.file for shard in found for entry in shard) == list("012345")
    assert [sum(entry.count for entry in shard) for shard in found] == [10, 11, 9]
    assert spread([], 2) == [[], []]


def test_replicas_of_a_shard_go_to_different_nodes():
    nodes = ["a", "b", "c"]
    placed = [[] for _ in range(4)]
    for shard in range(4):
        for _ in range(2):
            others = [node for i, some in enumerate(placed) if i != shard for node in some]
            placed[shard].append(choose_node(nodes, placed[shard], others))
    assert all(len(set(some)) == 2 for some in placed)
    counts = [sum(some.count(node) for some in placed) for node in nodes]
    assert max(counts) - min(counts) <= 1
    assert choose_node(["a"], ["a"], []) == "a"
    assert choose_node([], [], []) is None


def test_dead_nodes_and_those_without_cpus_are_left_out():
    def node(name, alive=True, **resources):
        return {"NodeID": name, "Alive": alive, "Resources": resources}

    nodes = [node("head", CPU=0), node("b", CPU=2), node("a", CPU=1), node("c", False, CPU=4)]
    assert usable_nodes(nodes) == ["a", "b"]
    assert usable_nodes([node("head")]) == ["head"]


A, B = 56 * "a", 56 * "b"  # ids of nodes


class FakeRay:
    """Two nodes, and actors that are the node they were asked for and a number."""

    def __init__(self):
        self.killed, self.started = [], []

    def nodes(self):
        return [{"NodeID": name, "Alive": True, "Resources": {"CPU": 1}} for name in (A, B)]

    def remote(self, kind):
        return self

    def options(self, *, scheduling_strategy, **options):
        self.asked = scheduling_strategy.node_id
        return SimpleNamespace(remote=self._started)

    def _started(self, *arguments):
        self.started.append((self.asked, len(self.started)))
        return self.started[-1]

    def kill(self, actor):
        self.killed.append(actor)


def test_an_actor_on_another_node_than_it_was_asked_for_is_started_again():
    pytest.importorskip("ray")
    ray = FakeRay()
    replicas = Replicas(ray, 2, 2, Spec("folder", 64, True, 0))
    assert [node for node, _ in ray.started] == [A, B, A, B]
    assert not replicas.settled([A, A, A, B])
    assert ray.killed == [(B, 1)]
    assert ray.started[-1] == (B, 4)
    assert replicas.settled([A, B, A, B])
    assert [replica.restarts for replica in replicas] == [0] * 4
