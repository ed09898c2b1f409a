"""Search of arrays on a device: above kernels that run on the CPU and, where there is a device, on it."""

import itertools

import numpy as np
import pytest
import torch
from hamming_truth import assert_same, codes, random_codes, topk, within
from hypothesis import given
from hypothesis import strategies as st

from fasthash import _hamming_stream
from fasthash.search import histogram, knn, range_search


@pytest.fixture(params=[False, True], ids=["resident", "streamed"])
def put(request, device, monkeypatch):
    """Puts a database where it is searched in place, or where it is streamed from, 240 codes of 8 bytes at a time."""
    monkeypatch.setattr(_hamming_stream.plan, "__defaults__", (240 * 8,))
    return (lambda x: x) if request.param else (lambda x: torch.tensor(x, device=device))


@pytest.mark.parametrize("bits", [9, 64, 100])
@pytest.mark.parametrize("k", [1, 30, 1010])
@pytest.mark.parametrize("form", [None, "bool", "packed", "on the device"])
def test_knn(device, put, bits, k, form):
    queries, database = codes(bits)
    mask = None if form is None else np.random.default_rng(1).random(len(database)) < 0.4
    allow = np.packbits(mask) if form == "packed" else mask
    allow = torch.tensor(allow, device=device) if form == "on the device" else allow
    got = knn(torch.tensor(queries, device=device), put(database), k, bits=bits, allow=allow)
    assert {x.device.type for x in got} == {device}
    assert_same([x.cpu() for x in got], topk(queries, database, k, mask))


@pytest.mark.parametrize("radius", [0, 25, 10**12])
@pytest.mark.parametrize("masked", [False, True])
def test_range_search(device, put, radius, masked):
    queries, database = codes()
    queries[0] = database[999]  # found in the last chunk at least
    allow = np.random.default_rng(1).random(len(database)) < 0.4 if masked else None
    got = range_search(torch.tensor(queries, device=device), put(database), radius, bits=64, allow=allow)
    assert [str(x.dtype) for x in got] == ["torch.int64", "torch.int32", "torch.int64"]
    assert_same([x.cpu() for x in got], within(queries, database, radius, allow))


@pytest.mark.parametrize("form", ["multi-hot", "class ids", None])
@pytest.mark.parametrize("sides", ["host", "device", "both"])
def test_histogram(device, put, form, sides):
    queries, database = codes()
    rng = np.random.default_rng(2)
    make = {"multi-hot": lambda n: rng.random((n, 70)) < 0.03, "class ids": lambda n: rng.integers(0, 9, n)}.get(form)
    labels = [None, None] if make is None else [make(3), make(1000)]
    want = histogram(queries, database, query_labels=labels[0], database_labels=labels[1])
    places = {"host": (False, False), "device": (True, True), "both": (True, False)}[sides]
    if make is not None:
        labels = [torch.tensor(x, device=device) if there else x for x, there in zip(labels, places, strict=True)]
    rows = torch.tensor(queries, device=device)
    got = histogram(rows, put(database), query_labels=labels[0], database_labels=labels[1])
    assert_same([got.counts.cpu()], [want.counts])
    assert (got.relevant is None) == (form is None)
    if form is not None:
        assert_same([got.relevant.cpu()], [want.relevant])
        assert got.relevant.device.type == device


def test_queries_on_the_host_come_to_the_database(device):
    queries, database = codes(60)
    got = knn(queries, torch.tensor(database, device=device), 5, bits=60)
    assert all(isinstance(x, np.ndarray) for x in got)
    assert_same(got, topk(queries, database, 5))
    got = range_search(queries, torch.tensor(database, device=device), 20, bits=60)
    assert all(isinstance(x, np.ndarray) for x in got)
    assert_same(got, within(queries, database, 20))


def test_padding_bits_on_a_device_count_in_no_distance(device):
    queries, database = codes(60)
    dirty = torch.tensor(database, device=device)
    dirty[:, -1] |= 15
    got = knn(torch.tensor(queries, device=device), dirty, 5, bits=60)
    assert_same([x.cpu() for x in got], topk(queries, database, 5))


def test_read_only_and_mapped_arrays_are_streamed(device, tmp_path):
    queries, database = codes()
    database.tofile(tmp_path / "codes")
    mapped = np.memmap(tmp_path / "codes", np.uint8, "r", shape=database.shape)
    queries.flags.writeable = False
    with np.errstate(all="raise"):
        got = knn(torch.tensor(queries, device=device), mapped, 4)
        assert_same([x.cpu() for x in got], topk(queries, database, 4))


@pytest.mark.filterwarnings("error")
def test_read_only_queries_and_masks_on_the_host(device):
    queries, database = codes()
    allow = np.arange(1000) % 3 == 0
    for x in (queries, allow):
        x.flags.writeable = False
    assert_same(knn(queries, torch.tensor(database, device=device), 4, allow=allow), topk(queries, database, 4, allow))


BAD = {
    "int codes": (ValueError, lambda q, d: (q.int(), d), {}),
    "a vector": (ValueError, lambda q, d: (q[0], d), {}),
    "empty": (ValueError, lambda q, d: (q, d[:0]), {}),
    "other widths": (ValueError, lambda q, d: (q[:, :5], d), {}),
    "bits 0": (ValueError, lambda q, d: (q, d), {"bits": 0}),
    "other bits": (ValueError, lambda q, d: (q, d), {"bits": 50}),
    "gaps": (ValueError, lambda q, d: (q, d.repeat(1, 2)[:, ::2]), {}),
    "gaps on the host": (ValueError, lambda q, d: (q, np.repeat(d.cpu().numpy(), 2, axis=1)[:, ::2]), {}),
    "padding on the host": (ValueError, lambda q, d: (q, d.cpu().numpy() | 15), {"bits": 60}),
    "padding of queries on the host": (ValueError, lambda q, d: (q.cpu().numpy() | 15, d), {"bits": 60}),
    "allow size": (ValueError, lambda q, d: (q, d), {"allow": np.ones(8, bool)}),
    "allow dtype": (ValueError, lambda q, d: (q, d), {"allow": np.ones(1000, int)}),
    "a list": (TypeError, lambda q, d: (q, d.tolist()), {}),
    "float threads": (TypeError, lambda q, d: (q, d), {"threads": 1.0}),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("search", [knn, range_search])
def test_bad_input_is_refused_in_one_line(device, case, search):
    error, make, options = BAD[case]
    arguments = make(*(torch.tensor(x, device=device) for x in codes()))
    with pytest.raises(error, match=rf"^{search.__name__}: ") as caught:
        search(*arguments, 1, **options)
    assert "\n" not in str(caught.value)


def test_a_device_that_cannot_be_used_is_named(emulated_cuda, monkeypatch):
    monkeypatch.setattr("fasthash._native.cuda_reason", lambda: "built with FASTHASH_CUDA=off")
    monkeypatch.delattr(emulated_cuda, "hamming_topk_cuda")
    monkeypatch.delattr(emulated_cuda, "hamming_range_count_cuda")
    assert_same(knn(torch.tensor(codes()[0]), codes()[1], 3), knn(*codes(), 3))  # the CPU does it: it has the database
    assert_same(range_search(torch.tensor(codes()[0]), codes()[1], 9), range_search(*codes(), 9))
    queries, database = map(torch.tensor, codes())
    with pytest.raises(RuntimeError, match=r"^knn: cannot search on .*: built with FASTHASH_CUDA=off$"):
        knn(queries, database, 1)


@given(st.integers(1, 10**12), st.integers(1, 512), st.integers(1, 1 << 30))
def test_chunks_cover_the_database_once(nb, width, size):
    nb = min(nb, 2000 * max(size // width // 8 * 8, 8))
    parts = _hamming_stream.plan(nb, width, size)
    assert parts[0][0] == 0
    assert parts[-1][1] == nb
    assert all(a[1] == b[0] for a, b in itertools.pairwise(parts))
    assert all(start % 8 == 0 and 0 < (stop - start) * width <= max(size, 8 * width) for start, stop in parts)


@given(st.integers(1, 5), st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 40), st.integers(0, 99))
def test_merged_chunks_are_one_search(nq, sizes, k, seed):
    rng = np.random.default_rng(seed)
    database, queries = random_codes(rng, sum(sizes), 6), random_codes(rng, nq, 6)  # six bits: many ties
    best, ranges, start = None, [], 0
    for size in sizes:
        part = database[start : start + size]
        distances, ids = topk(queries, part, min(k, size))
        best = _hamming_stream.merge(best, (torch.tensor(distances), torch.tensor(ids + start)), k)
        lims, near, near_ids = within(queries, part, 3)
        ranges.append((torch.tensor(lims), torch.tensor(near), torch.tensor(near_ids + start)))
        start += size
    want = topk(queries, database, min(k, start))
    assert_same([x.numpy() for x in best], want)
    assert_same([x.numpy() for x in _hamming_stream.merge_ranges(ranges)], within(queries, database, 3))
