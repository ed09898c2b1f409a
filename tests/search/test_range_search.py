import hamming_truth as truth
import numpy as np
import pytest
import torch

from fasthash import _native
from fasthash.search import range_search


@pytest.mark.parametrize("isa", _native.isa_names())
@pytest.mark.parametrize("bits", [1, 8, 37, 64, 128, 300])
def test_matches_brute_force(isa, bits):
    rng = np.random.default_rng(bits)
    with _native.use_isa(isa):
        for n in (1, 511, 512, 700):
            database, queries = truth.random_codes(rng, n, bits), truth.random_codes(rng, 4, bits)
            for radius in (0, 1, bits // 2, bits, bits + 100):
                got = range_search(queries, database, radius, bits=bits)
                truth.assert_same(got, truth.within(queries, database, radius))


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_threads_and_parts_do_not_matter(threads):
    rng = np.random.default_rng(1)
    database, queries = truth.random_codes(rng, 300_000, 256), truth.random_codes(rng, 5, 256)
    allow = rng.random(len(database)) < 0.5
    got = range_search(queries, database, 110, allow=allow, threads=threads)
    truth.assert_same(got, truth.within(queries, database, 110, allow))


def test_radius_is_inclusive_and_no_hits_are_fine():
    database = np.array([[0b1], [0b11], [0b111]], np.uint8)
    lims, distances, ids = range_search(np.zeros((1, 1), np.uint8), database, 2)
    assert (lims.tolist(), distances.tolist(), ids.tolist()) == ([0, 2], [1, 2], [0, 1])
    lims, distances, ids = range_search(np.zeros((2, 1), np.uint8), database, 0)
    assert (lims.tolist(), len(distances), len(ids)) == ([0, 0, 0], 0, 0)


def test_result_is_of_the_queries_kind():
    database, query = torch.zeros(5, 2, dtype=torch.uint8), torch.zeros(1, 2, dtype=torch.uint8)
    lims, distances, ids = range_search(query, database, 0)
    assert (lims.dtype, distances.dtype, ids.dtype) == (torch.int64, torch.int32, torch.int64)
    assert ids.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("error", "radius", "options"),
    [(ValueError, -1, {}), (TypeError, 1.5, {}), (ValueError, 1, {"bits": 9}), (ValueError, 1, {"threads": -1})],
)
def test_bad_input_is_refused_in_one_line(error, radius, options):
    codes = np.zeros((3, 1), np.uint8)
    with pytest.raises(error, match=r"^range_search: ") as caught:
        range_search(codes, codes, radius, **options)
    assert "\n" not in str(caught.value)
