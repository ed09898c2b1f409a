import sys

import numpy as np
import pytest
import torch
from torch.library import opcheck

import fasthash
from fasthash import search
from fasthash.ops import hamming_histogram, pack_labels

module = sys.modules["fasthash.ops.hamming_histogram"]  # the package's attribute of that name is the function


def make(nb=700, nq=4, bits=64, seed=0):
    rng = np.random.default_rng(seed)
    codes = (np.packbits(rng.random((n, bits)) < 0.5, axis=1) for n in (nq, nb))
    return tuple(map(torch.from_numpy, codes))


def make_labels(form, sizes=(4, 700)):
    rng = np.random.default_rng(1)
    if form is None:
        return None, None
    if form == "class ids":
        return tuple(torch.from_numpy(rng.integers(0, 9, n)) for n in sizes)
    hot = tuple(torch.from_numpy((rng.random((n, 70)) < 0.05).astype(np.float32)) for n in sizes)
    return tuple(map(pack_labels, hot)) if form == "packed" else hot


FORMS = [None, "class ids", "multi-hot", "packed"]


@pytest.mark.parametrize("bits", [1, 9, 64, 100])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("backend", ["reference", "cpp"])
def test_backends_agree_with_unpacked_codes(bits, form, backend):
    queries, database = make(bits=bits)
    mine, theirs = make_labels(form)
    with fasthash.use_backend(backend):
        got = hamming_histogram(queries, database, bits=bits, query_labels=mine, database_labels=theirs)
    unequal = [np.unpackbits(x.numpy(), axis=1, count=bits) for x in (queries, database)]
    by = torch.from_numpy((unequal[0][:, None] != unequal[1]).sum(axis=2))
    at = torch.nn.functional.one_hot(by, bits + 1)  # [nq, nb, bits + 1]
    assert torch.equal(got.counts, at.sum(1))
    if form is None:
        assert got.relevant is None
        return
    dense = make_labels("multi-hot")
    similar = mine[:, None] == theirs if form == "class ids" else dense[0] @ dense[1].T > 0
    assert torch.equal(got.relevant, (at * similar[:, :, None]).sum(1))


@pytest.mark.parametrize("form", [None, "class ids", "packed"])
def test_contracts(form):
    labels = tuple(x.words if form == "packed" else x for x in make_labels(form))
    opcheck(torch.ops.fasthash.hamming_histogram.default, (*make(), 64, *labels))


@pytest.mark.parametrize("form", FORMS)
def test_compiles_without_a_graph_break(form):
    queries, database = make()
    mine, theirs = make_labels(form)

    def run(q, d):
        found = hamming_histogram(q, d, query_labels=mine, database_labels=theirs)
        return found.counts + (0 if found.relevant is None else found.relevant)

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(queries, database), run(queries, database))


@pytest.mark.parametrize("form", [None, "class ids", "packed"])
def test_the_cuda_backend_above_emulated_kernels(emulated_cuda, form):
    queries, database = make(bits=100)
    labels = tuple(x.words if form == "packed" else x for x in make_labels(form))
    got = module._cuda(queries, database, 100, *labels)
    for a, b in zip(got, module._reference(queries, database, 100, *labels), strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("bits", [1, 33, 64, 96, 128, 1000, 4096])
@pytest.mark.parametrize("form", FORMS)
def test_gpu_matches_the_cpu(bits, form):
    queries, database = make(nb=200_000, nq=70, bits=bits)
    mine, theirs = make_labels(form, (70, 200_000))
    want = hamming_histogram(queries, database, bits=bits, query_labels=mine, database_labels=theirs)
    labels = {} if mine is None else {"query_labels": mine.to("cuda"), "database_labels": theirs.to("cuda")}
    got = hamming_histogram(queries.cuda(), database.cuda(), bits=bits, **labels)
    assert torch.equal(got.counts.cpu(), want.counts)
    assert (got.relevant is None) == (form is None)
    if form is not None:
        assert torch.equal(got.relevant.cpu(), want.relevant)
    if form in ("class ids", "multi-hot"):
        numpy_labels = {name: x.cpu().numpy() for name, x in labels.items()}
        same = search.histogram(queries.numpy(), database.cuda(), bits=bits, **numpy_labels)
        np.testing.assert_array_equal(same.relevant, want.relevant.numpy())


Q, DB = make(nb=9, nq=2)
IDS, HOT = (torch.arange(2), torch.arange(9)), (torch.ones(2, 3), torch.ones(9, 3))
BAD = {
    "numpy": (TypeError, (Q.numpy(), DB), {}),
    "no database": (TypeError, (Q, None), {}),
    "bits 0": (ValueError, (Q, DB), {"bits": 0}),
    "other bits": (ValueError, (Q, DB), {"bits": 72}),
    "a vector": (ValueError, (Q, DB[0]), {}),
    "empty": (ValueError, (Q[:0], DB), {}),
    "int codes": (ValueError, (Q.int(), DB), {}),
    "gaps": (ValueError, (Q, DB.repeat(1, 2)[:, ::2]), {}),
    "padding": (ValueError, (Q | 1, DB), {"bits": 63}),
    "labels of one side": (ValueError, (Q, DB), {"query_labels": IDS[0]}),
    "a list of labels": (TypeError, (Q, DB), {"query_labels": [0, 1], "database_labels": IDS[1]}),
    "labels too short": (ValueError, (Q, DB), {"query_labels": IDS[0], "database_labels": IDS[1][:8]}),
    "int32 ids": (ValueError, (Q, DB), {"query_labels": IDS[0].int(), "database_labels": IDS[1]}),
    "negative ids": (ValueError, (Q, DB), {"query_labels": IDS[0] - 1, "database_labels": IDS[1]}),
    "forms": (ValueError, (Q, DB), {"query_labels": IDS[0], "database_labels": HOT[1]}),
    "classes": (ValueError, (Q, DB), {"query_labels": HOT[0], "database_labels": torch.ones(9, 4)}),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("backend", ["reference", "cpp"])
def test_bad_input_is_refused_in_one_line(case, backend):
    error, args, options = BAD[case]
    with fasthash.use_backend(backend), pytest.raises(error, match=r"^hamming_histogram: ") as caught:
        hamming_histogram(*args, **options)
    assert "\n" not in str(caught.value)
