"""Memory of a search: the database stays in its file, and what a search takes besides is bounded."""

import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest

from fasthash.search import BinaryIndex, load

ROWS = 40_000_000  # of 8 bytes: 305 MiB, nothing of it on the disk but the rows written below
NEAR = {7: 1, 123_456: 0, 20_000_000: 2, ROWS - 1: 1}  # row: distance from the query; all others are 64 away
# What a search may take beyond its results: csrc/hamming.h names 24 MiB and 48 MiB a thread; a thread's stack has 8.
ROOM = 24 + 2 * (48 + 8)

# In a process of its own, which gives itself that much memory of its own (mapped files do not count) and no more.
SEARCH = f"""
import re, resource, sys
import numpy as np
from fasthash.search import from_npy, knn, load, read_faiss

def limit_to(room):
    used = int(re.search(r"VmData:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + room, resource.RLIM_INFINITY))

path, near = sys.argv[1], {NEAR!r}
query = np.full((1, 8), 255, np.uint8)
knn(query, query, 1)  # loads what is loaded once
index = {{"npy": from_npy, "faiss": read_faiss, "own": load}}[path.rsplit(".")[-1]](path)
assert len(index) == {ROWS}
limit_to({ROOM} << 20)
try:
    np.array(index.codes)
except MemoryError:
    pass
else:
    sys.exit(77)  # the limit is not kept here

want = sorted((distance, row) for row, distance in near.items())
for queries, k, threads in ((1, 10, 2), (1, 10, 1), (1, 100_000, 2), (16, 10, 2), (40, 1, 2)):
    limit_to(({ROOM} << 20) + 12 * queries * k)
    distances, ids = index.search(np.repeat(query, queries, axis=0), k, threads=threads)
    assert list(zip(distances[-1].tolist(), ids[-1].tolist()))[:4] == want[:k]
    assert (distances == distances[0]).all() and (ids == ids[0]).all()
    assert (distances[0, 4:] == 64).all() and (ids[0, 4:10] == [0, 1, 2, 3, 4, 5][: max(0, k - 4)]).all()
    del distances, ids
limit_to({ROOM} << 20)
codes = np.zeros((65_536, 512), np.uint8)
limit_to(({ROOM} << 20) + 12 * 4096)
distances, ids = knn(codes[:4096], codes, 1, threads=2)  # the longest codes, and many queries
assert not distances.any() and not ids.any()
limit_to({ROOM} << 20)
lims, distances, ids = index.range_search(query, 1, threads=2)
assert (lims.tolist(), distances.tolist(), ids.tolist()) == ([0, 3], [0, 1, 1], [123456, 7, {ROWS - 1}])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits a process's own memory as Linux does")
@pytest.mark.skipif("FASTHASH_SANITIZED" in os.environ, reason="the sanitizer's own memory has no bound")
@pytest.mark.parametrize("kind", ["npy", "faiss", "own"])
def test_a_mapped_file_larger_than_the_memory_is_searched_in_place(tmp_path, kind):
    path = tmp_path / f"codes.{kind}"
    write_large(path, kind)
    done = subprocess.run([sys.executable, "-c", SEARCH, str(path)], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("this system does not keep to RLIMIT_DATA")
    assert done.returncode == 0, done.stderr


def write_large(path, kind):
    """A file of ROWS zero codes but for NEAR: a header, then a hole with a few bytes in it."""
    codes = np.broadcast_to(np.uint8(0), (ROWS, 8))
    if kind == "npy":
        header = {"descr": "|u1", "fortran_order": False, "shape": codes.shape}
        with open(path, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
    elif kind == "faiss":
        path.write_bytes(struct.pack("<4siiqBiQ", b"IBxF", 64, 8, ROWS, 1, 1, codes.nbytes))
    else:
        path.write_bytes(header_of_ours(path, codes))
    start = path.stat().st_size
    with open(path, "rb+") as file:
        file.truncate(start + codes.nbytes)
        for row, distance in NEAR.items():
            file.seek(start + 8 * row)
            file.write(bytes([255] * 7 + [255 >> distance]))


def header_of_ours(path, codes):
    """That of a small index, with the numbers of a large one."""
    index = BinaryIndex(64)
    index.add(np.zeros((1, 8), np.uint8))
    index.save(path)
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    header["__metadata__"]["count"] = str(len(codes))
    header["codes"].update(shape=list(codes.shape), data_offsets=[0, codes.nbytes])
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


def test_a_mapped_index_is_the_file(tmp_path):
    """What changes in the file's pages shows in the codes: nothing has been copied. (Nobody should do this.)"""
    index = BinaryIndex(64)
    index.add(np.zeros((1000, 8), np.uint8))
    index.save(tmp_path / "x")
    mapped = load(tmp_path / "x")
    assert mapped.search(np.full((1, 8), 255, np.uint8), 1)[0] == 64
    with open(tmp_path / "x", "rb+") as file:
        file.seek(-8, os.SEEK_END)
        file.write(b"\xff" * 8)
    distances, ids = mapped.search(np.full((1, 8), 255, np.uint8), 1)
    assert (distances.tolist(), ids.tolist()) == ([[0]], [[999]])
