"""``ShardedIndex``: an exact index whose shards are searched by Ray actors, on one machine or many."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from fasthash._arguments import thread_count, whole_number
from fasthash._hamming import MAX_K
from fasthash._histograms import Histograms
from fasthash._native import like
from fasthash.codes import check_bits
from fasthash.distributed._ray import connected
from fasthash.distributed.sharded import questions
from fasthash.distributed.sharded.checks import check_options, seconds
from fasthash.distributed.sharded.folder import Folder, Version
from fasthash.distributed.sharded.placement import cpus_of, usable_nodes
from fasthash.distributed.sharded.service import Service
from fasthash.distributed.sharded.status import ShardStatus
from fasthash.distributed.sharded.stored import StoredRows
from fasthash.search.hits import merge_range, merge_topk

_FILE_ROWS = 1 << 24  # of a file that ``save`` writes, at most


class ShardedIndex(StoredRows):
    """The interface of ``BinaryIndex`` over shards, each searched by an actor of Ray, or by several.

    Answers are those of one ``BinaryIndex`` over all rows, to the bit. The rows are in a folder of shards
    (``fasthash.search.write_shards``), which this process and all nodes must reach by one path. A change is on disk, in
    all shards at once or in none, before its method returns. An actor that is lost is started again and reads its
    files; a question waits for it or goes to a replica, and is answered over all shards or raises: never over fewer.

    Threads: any number may search while others change the index; as with ``BinaryIndex``, a search sees the rows as
    they were when it began.
    """

    def __init__(
        self,
        bits: int,
        shards: int = 4,
        replicas: int = 1,
        *,
        folder: str | os.PathLike[str] | None = None,
        threads: int | None = None,
        num_cpus: float = 0,
        timeout: float | None = 600.0,
    ) -> None:
        """An empty index; joins Ray's cluster, or starts one on this machine.

        Args:
            bits: code length, 1 to 4096.
            shards: number of shards: actors that answer a question together.
            replicas: actors for each shard, on different nodes where there are several; one of them answers.
            folder: made if need be, and kept; None: a temporary one, removed by ``close`` or when the process ends.
            threads: CPU threads of a search in each shard; None: the CPUs of the cluster by the number of shards.
            num_cpus: what each actor reserves of Ray's CPUs; 0: nothing, it is placed wherever there is a node.
            timeout: seconds that a question, or the start, may wait in all for its shards; None: as long as it takes.
        Raises:
            TypeError, ValueError: an argument that is none of these; no folder on a cluster of several nodes.
            FileExistsError: a folder of shards is there already: ``load`` opens it.
            RuntimeError: Ray is not installed; the folder is open for changes elsewhere.
            TimeoutError: actors could not be started in time.
        """
        op = type(self).__name__
        bits = check_bits(bits, op)
        options = check_options(shards, replicas, threads, num_cpus, timeout, op)
        ray = connected(op)
        owned = folder is None
        if owned and (nodes := len(usable_nodes(ray.nodes()))) > 1:
            raise ValueError(
                f"{op}: folder must be a path that every node reaches on a cluster of {nodes} nodes, got None"
            )
        path = Path(tempfile.mkdtemp(prefix="fasthash-shards-") if folder is None else folder).resolve()
        path.mkdir(exist_ok=True)
        self._remove: Callable[[], object] = weakref.finalize(self, _removed, path, os.getpid()) if owned else _nothing
        self._folder, self._read_only = Folder.made(path, bits, shards), False
        try:
            self._service = Service(ray, self._folder, mmap=False, options=options, op=op)
        except BaseException:
            self._folder.discard()  # a second attempt shall not find a folder of shards
            raise
        weakref.finalize(self, self._service.close)

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        replicas: int = 1,
        mmap: bool = True,
        *,
        shards: int | None = None,
        threads: int | None = None,
        num_cpus: float = 0,
        timeout: float | None = 600.0,
    ) -> ShardedIndex:
        """An index over a folder of shards; the other arguments are those of the constructor.

        Args:
            folder: what ``write_shards``, ``save`` or another ``ShardedIndex`` wrote.
            mmap: actors map their files, read-only: they may be larger than memory. False: they read them, checksums
                included, and the index can be changed, in the folder; one index at a time may do that.
            shards: number of actors that share the files; None: one a file, at most as many as Ray has CPUs.
        Raises:
            FileNotFoundError: no folder of shards, or a file of it is missing.
            ValueError: a file is truncated, damaged or another than it should be; one line names it.
            RuntimeError: a file that a node cannot read; the folder is open for changes elsewhere.
        """
        op = f"{cls.__name__}.load"
        options = check_options(1 if shards is None else shards, replicas, threads, num_cpus, timeout, op)
        ray, index = connected(op), cls.__new__(cls)
        index._read_only, index._remove = mmap, _nothing
        while True:
            index._folder = Folder.opened(Path(folder).resolve(), shards, cpus_of(ray), writable=not mmap)
            try:
                index._service = Service(ray, index._folder, mmap=mmap, options=options, op=op)
                break
            except BaseException as error:
                index._folder.close()
                if not isinstance(error, RuntimeError) or index._folder.is_last():
                    raise  # otherwise a writer has replaced files before the actors had opened them
        weakref.finalize(index, index._service.close)
        return index

    def __repr__(self) -> str:
        return f"{type(self).__name__}(bits={self.bits}, codes={len(self)}, shards={self.shards})"

    def __enter__(self) -> ShardedIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__}: an index is neither copied nor pickled; load its folder instead")

    @property
    def device(self) -> str:
        """Where searches run: "cpu"."""
        return "cpu"

    @property
    def timeout(self) -> float | None:
        """Seconds that a question may wait for its shards; None: as long as it takes. May be set."""
        return self._service.timeout

    @timeout.setter
    def timeout(self, value: float | None) -> None:
        self._service.timeout = seconds(value, type(self).__name__)

    def search(self, queries: Any, k: int, allow: Any = None, threads: int | None = None) -> tuple[Any, Any]:
        """The k nearest codes of each query, by (distance, id) ascending, of all shards.

        Args, Returns: as ``BinaryIndex.search``; ``threads`` are those of each shard, None: the constructor's.
        Raises:
            TypeError, ValueError: as ``BinaryIndex.search``.
            RuntimeError: a shard cannot be read, or is lost again and again; the index is closed.
            TimeoutError: a shard has not answered in time.
        """
        op = f"{type(self).__name__}.search"
        with self._folder.reading() as version:
            questions.check_not_empty(version, op)
            k = whole_number(k, 1, MAX_K, op, "k")
            parts = self._scan(version, "search", queries, k, allow, threads, op)
        found = parts[0] if len(parts) == 1 and parts[0][0].shape[1] == k else merge_topk(parts, k)
        return like(found[0], queries), like(found[1], queries)

    def range_search(
        self, queries: Any, radius: int, allow: Any = None, threads: int | None = None
    ) -> tuple[Any, Any, Any]:
        """Every code at distance <= radius: as ``BinaryIndex.range_search``; errors as in ``search``."""
        op = f"{type(self).__name__}.range_search"
        with self._folder.reading() as version:
            questions.check_not_empty(version, op)
            radius = whole_number(radius, 0, sys.maxsize, op, "radius")
            parts = self._scan(version, "range_search", queries, radius, allow, threads, op)
        lims, distances, ids = merge_range(parts)
        return like(lims, queries), like(distances, queries), like(ids, queries)

    def histograms(
        self, queries: Any, query_labels: Any, database_labels: Any, *, threads: int | None = None
    ) -> Histograms:
        """How many items, and relevant ones, lie at each distance from each query: as ``Shards.histograms``.

        ``fasthash.metrics.evaluate`` and its relatives take the index itself as the database. Labels of the database
        are read by parts, as they are sent to the shards. ``threads`` and further errors as in ``search``.
        """
        op, service = f"{type(self).__name__}.histograms", self._service
        asking = service.asking(op)
        with self._folder.reading() as version:
            rows, masks, labels = questions.check_labelled(
                version, self.bits, queries, query_labels, database_labels, op
            )
            count = service.threads if threads is None else thread_count(threads, op)
            sent = [service.shared(array, len(version.segments)) for array in (rows, masks)]
            calls = questions.histogram_calls(version, (sent[0], sent[1]), labels, count, op)
            found = Histograms(*(np.zeros((len(rows), self.bits + 1), np.int64) for _ in range(2)))
            for part in asking.stream(calls, 2 * self.shards):
                found += Histograms(*part)
        return found

    def status(self) -> tuple[ShardStatus, ...]:
        """Each shard: rows, files, and its replicas: whether they answer, where, and how often they were restarted.

        Waits 5 seconds at most. A replica that turns out to be lost is started again, and shown as it was found.
        """
        return self._service.status(f"{type(self).__name__}.status")

    def close(self) -> None:
        """End the actors, and remove a temporary folder; one that was given stays, complete. May be called twice."""
        self._service.close()
        self._remove()

    def _scan(
        self, version: Version, method: str, queries: Any, limit: int, allow: Any, threads: int | None, op: str
    ) -> list[Any]:
        """The answer of every shard that has rows."""
        service = self._service
        asking = service.asking(op)
        rows = questions.check_queries(queries, self.bits, op)
        masks = questions.masks_of(version, allow, op)
        count = service.threads if threads is None else thread_count(threads, op)
        sent = service.shared(rows, self.shards)
        return asking.answers(questions.scan_calls(version, method, sent, limit, masks, count))

    def _check_open(self, op: str) -> None:
        self._service.check_open(op)


def _removed(path: Path, process: int) -> None:
    """A temporary folder goes with the process that made it, not with one that was forked from it."""
    if os.getpid() == process:
        shutil.rmtree(path, ignore_errors=True)


def _nothing() -> None:
    """A folder that was given is kept."""
