"""Actors that die, stop or cannot read: a question is answered over all shards, or an error says why."""

import os
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from sharded_truth import assert_same, one_index, packed_codes

from fasthash.distributed import ShardedIndex
from fasthash.distributed.sharded import calls
from fasthash.distributed.sharded.calls import Call
from fasthash.search import write_shards

BITS, COUNT = 64, 900
RNG = np.random.default_rng(11)
CODES, QUERIES = packed_codes(RNG, COUNT, BITS), packed_codes(RNG, 6, BITS)
WANTED = one_index(BITS, CODES).search(QUERIES, 12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("faults") / "shards", [CODES], BITS, rows_per_shard=COUNT // 2).folder


@pytest.fixture(scope="module")
def index(ray_cluster, folder):
    """Two shards of one replica; every test leaves it and its folder whole."""
    with ShardedIndex.load(folder) as made:
        yield made


class Question(threading.Thread):
    """A search in another thread."""

    def __init__(self, index):
        super().__init__(daemon=True)
        self.index, self.found, self.error = index, None, None
        self.start()

    def run(self):
        try:
            self.found = self.index.search(QUERIES, 12)
        except Exception as error:
            self.error = error

    def answer(self):
        self.join(120)
        assert not self.is_alive()
        assert self.error is None
        return self.found


def restarts(index):
    return [shard.restarts for shard in index.status()]


def pids(index):
    return [[replica.pid for replica in shard.replicas] for shard in index.status()]


def in_flight(index):
    return sum(replica.waiting for replica in index._service._replicas)


def stopped_with_a_question(index, pid):
    """A question that a stopped process has been asked and cannot have answered."""
    os.kill(pid, signal.SIGSTOP)
    question = Question(index)
    while in_flight(index) < index.shards:
        assert question.is_alive()
        question.join(0.01)
    question.join(0.3)
    assert question.is_alive()
    return question


def test_an_actor_killed_in_the_middle_of_a_question(index):
    first, before = pids(index), restarts(index)
    question = stopped_with_a_question(index, first[1][0])
    os.kill(first[1][0], signal.SIGKILL)
    assert_same(question.answer(), WANTED)
    status = index.status()
    assert [shard.restarts for shard in status] == [before[0], before[1] + 1]
    assert [shard.alive for shard in status] == [1, 1]
    assert status[1].replicas[0].pid != first[1][0]


def test_an_actor_that_exits_and_one_that_ray_kills(index, ray_cluster):
    replicas, before = index._service._replicas, restarts(index)
    replicas.of(0)[0].actor.__ray_call__.remote(lambda reader: os._exit(1))
    ray_cluster.kill(replicas.of(1)[0].actor)
    assert_same(index.search(QUERIES, 12), WANTED)
    assert restarts(index) == [before[0] + 1, before[1] + 1]


def test_replicas_answer_for_each_other(ray_cluster, folder):
    with ShardedIndex.load(folder, shards=1, replicas=2) as index:
        (both,) = pids(index)
        os.kill(both[0], signal.SIGSTOP)
        try:
            questions = [Question(index) for _ in range(2)]  # one each; the one at the stopped actor waits
            while in_flight(index) < 1:
                questions[0].join(0.01)
        finally:
            os.kill(both[0], signal.SIGKILL)
        for question in questions:
            assert_same(question.answer(), WANTED)
        for replica in index._service._replicas:
            ray_cluster.kill(replica.actor)  # all of them
        assert_same(index.search(QUERIES, 12), WANTED)
        assert restarts(index)[0] >= 2


def test_status_notices_a_lost_replica_and_starts_another(index):
    before = restarts(index)[0]
    os.kill(pids(index)[0][0], signal.SIGKILL)
    for _ in range(1000):  # Ray may not know yet
        if restarts(index)[0] > before:
            break
        time.sleep(0.1)
    assert restarts(index)[0] > before
    assert_same(index.search(QUERIES, 12), WANTED)
    assert index.status()[0].alive == 1


def test_a_file_cut_short_under_a_mapped_shard(index):
    """What the mapping has lost would be zeros, or the end of the process; instead it is told."""
    file = index.folder / index.status()[1].files[0]
    content = file.read_bytes()
    os.truncate(file, 512)  # in place: the mapping loses its pages
    with pytest.raises(RuntimeError) as failed:
        index.search(QUERIES, 12)
    assert str(failed.value).startswith(f"ShardedIndex.search: shard 1 cannot be read: {file} is truncated: ")
    assert "\n" not in str(failed.value)
    with pytest.raises(RuntimeError, match="ShardedIndex.range_search: shard 1 cannot be read"):
        index.range_search(QUERIES, 3)
    file.write_bytes(content)
    assert_same(index.search(QUERIES, 12), WANTED)


def test_a_file_that_is_gone_when_the_actor_comes_back(index):
    file = index.folder / index.status()[0].files[0]
    assert_same(index.search(QUERIES, 12), WANTED)
    file.rename(file.with_suffix(".away"))
    assert_same(index.search(QUERIES, 12), WANTED)  # it is mapped: nothing is lost yet
    os.kill(pids(index)[0][0], signal.SIGKILL)
    with pytest.raises(RuntimeError, match=rf"shard 0 cannot be read: {file} is missing, which shards.json names"):
        index.search(QUERIES, 12)
    file.with_suffix(".away").rename(file)
    assert_same(index.search(QUERIES, 12), WANTED)


def test_another_file_in_its_place(index):
    first, second = (index.folder / shard.files[0] for shard in index.status())
    content = second.read_bytes()
    second.unlink()
    second.write_bytes(first.read_bytes())
    os.kill(pids(index)[1][0], signal.SIGKILL)
    with pytest.raises(RuntimeError, match=f"shard 1 cannot be read: {second} is not the file that shards.json names"):
        index.search(QUERIES, 12)
    second.write_bytes(content)
    assert_same(index.search(QUERIES, 12), WANTED)


def test_one_that_does_not_answer_in_time(index):
    pid = pids(index)[1][0]
    os.kill(pid, signal.SIGSTOP)
    try:
        index.timeout = 0.5
        with pytest.raises(TimeoutError) as late:
            index.search(QUERIES, 12)
        assert str(late.value) == "ShardedIndex.search: no answer in 0.5 s (timeout) from shard 1 of 2"
    finally:
        os.kill(pid, signal.SIGCONT)
    index.timeout = None
    assert_same(index.search(QUERIES, 12), WANTED)


def test_one_that_is_lost_again_and_again(index, monkeypatch):
    def die(reader, *_):
        os._exit(1)

    monkeypatch.setattr(calls, "_LOSSES", 2)
    replica = index._service._replicas.of(0)[0]
    make = index._service._replicas._make

    class Dying(make.__ray_metadata__.modified_class):
        search = die

    index._service._replicas._make = index._service._ray.remote(Dying)
    index._service._replicas.lost(replica, replica.actor)
    with pytest.raises(RuntimeError, match="ShardedIndex.search: shard 0 was lost 2 times while it was asked: .*exit"):
        index.search(QUERIES, 12)
    index._service._replicas._make = make
    assert_same(index.search(QUERIES, 12), WANTED)


def test_an_error_inside_an_actor_is_told_with_its_kind(index):
    asking = index._service.asking("ShardedIndex.search")
    with pytest.raises(RuntimeError, match="ShardedIndex.search: shard 1 failed: TypeError: "):
        asking.answers([Call(1, "open", (0, None))])


def test_an_answer_that_is_lost_is_asked_for_again(index, ray_cluster, monkeypatch):
    """With the node that held it; likewise an actor that is ended for memory: neither is Ray's RayActorError."""
    lost = [ray_cluster.exceptions.ObjectLostError("ab", None, ""), ray_cluster.exceptions.OutOfMemoryError("memory")]
    get = ray_cluster.get

    def losing(references, timeout=None):
        if lost:
            raise lost.pop()
        return get(references, timeout=timeout)

    before = sum(restarts(index))
    monkeypatch.setattr(ray_cluster, "get", losing)
    assert_same(index.search(QUERIES, 12), WANTED)
    monkeypatch.undo()
    assert not lost
    assert sum(restarts(index)) == before + 1  # the first error was that of all calls together


def test_calls_that_were_given_up_do_not_count_for_ever(index):
    """Otherwise the replicas that stay would get ever fewer questions."""
    file = index.folder / index.status()[0].files[0]
    os.rename(file, file.with_suffix(".away"))
    os.kill(pids(index)[0][0], signal.SIGKILL)
    with pytest.raises(RuntimeError, match="shard 0 cannot be read"):
        index.search(QUERIES, 12)  # the answer of shard 1 is not looked at
    os.rename(file.with_suffix(".away"), file)
    pid = pids(index)[1][0]
    os.kill(pid, signal.SIGSTOP)
    index.timeout = 0.3
    with pytest.raises(TimeoutError):
        index.search(QUERIES, 12)
    index.timeout = None
    assert in_flight(index) > 0  # it may still be at work
    os.kill(pid, signal.SIGCONT)
    assert_same(index.search(QUERIES, 12), WANTED)
    for _ in range(600):  # a minute and more
        if in_flight(index) == 0:
            break
        time.sleep(0.1)
        assert_same(index.search(QUERIES, 12), WANTED)
    assert in_flight(index) == 0


def test_a_folder_that_another_node_does_not_reach(index, monkeypatch):
    asking = index._service.asking("ShardedIndex.search")
    monkeypatch.setattr(calls, "usable_nodes", lambda nodes: ["a", "b"])
    away = [replace(file, file="away") for file in index._folder.version.files(0)]
    with pytest.raises(RuntimeError, match=r"shard 0 cannot be read: .*away is missing.* \(node [0-9a-f]+; every node"):
        asking.answers([Call(0, "open", (0, away))])


def test_ray_that_was_shut_down_and_a_process_that_was_forked(index, ray_cluster, monkeypatch):
    """Neither starts a cluster of its own, nor ends what is not its own."""
    with monkeypatch.context() as patch:
        patch.setattr(ray_cluster, "is_initialized", lambda: False)
        with pytest.raises(RuntimeError, match=r"ShardedIndex.search: Ray was shut down"):
            index.search(QUERIES, 12)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(RuntimeError, match=r"ShardedIndex.search: the index was opened before this process was"):
            index.search(QUERIES, 12)
        index.close()
    assert_same(index.search(QUERIES, 12), WANTED)


def test_more_cpus_than_there_are(ray_cluster, folder, tmp_path):
    with pytest.raises(TimeoutError, match=r"ShardedIndex.load: no answer in 0.3 s .*waiting for CPUs \(num_cpus\)"):
        ShardedIndex.load(folder, num_cpus=1000, timeout=0.3)
    with pytest.raises(TimeoutError, match="ShardedIndex: no answer in 0.3 s"):
        ShardedIndex(BITS, folder=tmp_path, num_cpus=1000, timeout=0.3)
    assert list(tmp_path.iterdir()) == []  # the same again may succeed
