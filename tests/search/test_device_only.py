"""What only a CUDA device can show: its size, its streams, its waiting."""

import numpy as np
import pytest
import torch
from hamming_truth import assert_same, codes

from fasthash.search import BinaryIndex, histogram, knn, range_search

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def test_a_device_that_is_not_there():
    with pytest.raises(RuntimeError, match=r"^BinaryIndex.to: cannot use cuda:999: there are"):
        BinaryIndex(64).to("cuda:999")


@pytest.mark.parametrize("bits", [1, 33, 64, 96, 128, 1000, 4096])
@pytest.mark.parametrize("nq", [1, 70])
def test_many_hits_on_a_device(bits, nq):
    queries, database = codes(bits, nq, 200_000)
    allow = np.random.default_rng(1).random(200_000) < 0.5
    there = torch.tensor(database, device="cuda")
    for radius, mask in ((bits // 3, None), (bits * 49 // 100, allow), (bits if nq == 1 else 0, None)):
        want = range_search(queries, database, radius, bits=bits, allow=mask)
        assert_same(range_search(queries, there, radius, bits=bits, allow=mask), want)


@pytest.mark.parametrize("pinned", [False, True])
def test_streaming_on_a_stream_of_the_callers(pinned):
    queries, database = codes(64, 40, 20_000_000)  # 160 MB: three chunks
    source = torch.from_numpy(database).pin_memory() if pinned else database.copy()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):  # the buffers of one search are those of the next
            rows = torch.tensor(queries, device="cuda")
            near = range_search(rows, source, 9)
            counts = histogram(rows, source).counts
        got = knn(rows, source, 20)
        source[:] = 0  # its owner's again, whatever the device still has to do
    stream.synchronize()
    assert_same([x.cpu() for x in got], knn(queries, database, 20))
    assert_same([x.cpu() for x in near], range_search(queries, database, 9))
    assert_same([counts.cpu()], [histogram(queries, database).counts])


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("streamed", [False, True])
def test_another_device_than_the_current_one(streamed):
    queries, database = codes(64, 40, 100_000)
    base = database if streamed else torch.tensor(database, device="cuda:1")
    for place in ("cuda:1",) if streamed else ("cuda:1", "cuda:0", "cpu"):
        rows = torch.tensor(queries, device=place)
        got = knn(rows, base, 20)
        assert {x.device for x in got} == {rows.device}
        assert_same([x.cpu() for x in got], knn(queries, database, 20))
    assert torch.cuda.current_device() == 0


def test_nothing_waits_for_the_device():
    queries, database = (torch.tensor(x, device="cuda") for x in codes(60))
    labels = torch.zeros(3, 70, device="cuda"), torch.ones(1000, 70, device="cuda")
    index = BinaryIndex(60)
    index.add(database.cpu())
    there = index.to("cuda")
    allow = torch.ones(1000, dtype=torch.bool, device="cuda")
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        knn(queries, database, 10, bits=60, allow=allow)
        there.search(queries, 10)
        histogram(queries, database, bits=60, query_labels=labels[0], database_labels=labels[1])
    finally:
        torch.cuda.set_sync_debug_mode("default")
