"""An index over shards in Ray actors: filled, searched, an actor killed, changed, loaded again.

python examples/sharded_search.py            on this machine; in a Ray cluster it joins (RAY_ADDRESS)
"""

import os
import signal
import tempfile

import numpy as np

from fasthash.distributed import ShardedIndex
from fasthash.search import BinaryIndex

rng = np.random.default_rng(0)
codes = rng.integers(0, 256, (100_000, 8), dtype=np.uint8)  # 64 bits each
queries = rng.integers(0, 256, (5, 8), dtype=np.uint8)
one = BinaryIndex(64)
one.add(codes)

with tempfile.TemporaryDirectory() as folder:  # on a cluster: a path that every node reaches
    with ShardedIndex(64, shards=2, folder=f"{folder}/shards") as index:
        index.add(codes)
        distances, ids = index.search(queries, k=10)
        print("as one index:", np.array_equal(ids, one.search(queries, k=10)[1]))

        os.kill(index.status()[1].replicas[0].pid, signal.SIGKILL)
        print("after a loss:", np.array_equal(index.search(queries, k=10)[1], ids))
        print("restarts:", [shard.restarts for shard in index.status()])

        index.remove(ids[:, 0])  # on disk, in all shards, when it returns

    with ShardedIndex.load(f"{folder}/shards") as index:  # mapped, read-only
        print("loaded:", len(index), "codes in", index.shards, "shards")
        print("nearest is now the second:", np.array_equal(index.search(queries, k=1)[1][:, 0], ids[:, 1]))
