import numpy as np
import pytest
import torch
from torch.library import opcheck

import fasthash
from fasthash.ops import hamming_topk
from fasthash.search import knn


def make(nb=700, nq=4, bits=64, device="cpu", seed=0):
    rng = np.random.default_rng(seed)
    codes = (np.packbits(rng.random((n, bits)) < 0.5, axis=1) for n in (nq, nb))
    return tuple(torch.from_numpy(x).to(device) for x in codes)


@pytest.mark.parametrize("bits", [1, 7, 8, 64, 100])
@pytest.mark.parametrize("k", [1, 30, 710])
@pytest.mark.parametrize("allow", [None, "bool", "packed"])
def test_backends_agree_to_the_bit(bits, k, allow):
    queries, database = make(bits=bits)
    mask = np.random.default_rng(1).random(700) < 0.4
    allow = {None: None, "bool": torch.from_numpy(mask), "packed": torch.from_numpy(np.packbits(mask))}[allow]
    with fasthash.use_backend("reference"):
        want = hamming_topk(queries, database, k, bits=bits, allow=allow)
    with fasthash.use_backend("cpp"):
        got = hamming_topk(queries, database, k, bits=bits, allow=allow)
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


def test_reference_matches_counting_unequal_bits():
    queries, database = make(bits=9, nb=50)
    with fasthash.use_backend("reference"):
        distances, ids = hamming_topk(queries, database, 50, bits=9)
    bits = [np.unpackbits(x.numpy(), axis=1, count=9) for x in (queries, database)]
    for q in range(len(queries)):
        unequal = (bits[0][q] != bits[1]).sum(axis=1)
        assert distances[q].tolist() == sorted(unequal)
        assert [(unequal[i], i) for i in ids[q].tolist()] == sorted((d, i) for i, d in enumerate(unequal))


@pytest.mark.parametrize("allow", [None, torch.arange(700) % 3 == 0])
def test_contracts(allow):
    opcheck(torch.ops.fasthash.hamming_topk.default, (*make(), 5, 64, allow))


def test_compiles_without_a_graph_break():
    queries, database = make()
    compiled = torch.compile(lambda q, d: hamming_topk(q, d, 9)[1] + 1, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(queries, database), hamming_topk(queries, database, 9)[1] + 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("bits", [1, 33, 64, 96, 128, 1000, 4096])
def test_gpu_matches_the_cpu(bits):
    queries, database = make(nb=20_000, nq=70, bits=bits)
    allow = torch.from_numpy(np.random.default_rng(1).random(20_000) < 0.5)
    for k, mask in ((1, None), (10, allow), (3000, None)):
        want = knn(queries, database, k, bits=bits, allow=mask)
        mask = None if mask is None else mask.cuda()
        for search in (knn, hamming_topk):
            got = search(queries.cuda(), database.cuda(), k, bits=bits, allow=mask)
            assert all(torch.equal(a.cpu(), b) for a, b in zip(got, want, strict=True))


Q, DB = make(nb=9, nq=2)
BAD = {
    "numpy": (TypeError, (Q.numpy(), DB, 1), {}),
    "no database": (TypeError, (Q, None, 1), {}),
    "float k": (TypeError, (Q, DB, 1.0), {}),
    "k 0": (ValueError, (Q, DB, 0), {}),
    "bits 0": (ValueError, (Q, DB, 1), {"bits": 0}),
    "other bits": (ValueError, (Q, DB, 1), {"bits": 72}),
    "a vector": (ValueError, (Q, DB[0], 1), {}),
    "empty": (ValueError, (Q[:0], DB, 1), {}),
    "int codes": (ValueError, (Q.int(), DB, 1), {}),
    "gaps": (ValueError, (Q, DB.repeat(1, 2)[:, ::2], 1), {}),
    "allow size": (ValueError, (Q, DB, 1), {"allow": torch.ones(8, dtype=torch.bool)}),
    "padding": (ValueError, (Q | 1, DB, 1), {"bits": 63}),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("backend", ["reference", "cpp"])
def test_bad_input_is_refused_in_one_line(case, backend):
    error, args, options = BAD[case]
    with fasthash.use_backend(backend), pytest.raises(error, match=r"^hamming_topk: ") as caught:
        hamming_topk(*args, **options)
    assert "\n" not in str(caught.value)
