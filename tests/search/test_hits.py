import hamming_truth as truth
import numpy as np
import pytest
import torch

from fasthash.codes import unpack
from fasthash.search import knn, merge_topk, rescore


def test_merge_keeps_missing_hits_last():
    a = (np.array([[1, 5]], np.int32), np.array([[7, 2]]))
    b = (np.array([[5, truth.NONE]], np.int32), np.array([[1, -1]]))
    distances, ids = merge_topk([a, b], 5)
    assert distances.tolist() == [[1, 5, 5, truth.NONE, truth.NONE]]
    assert ids.tolist() == [[7, 1, 2, -1, -1]]
    assert (distances.dtype, ids.dtype) == (np.int32, np.int64)


@pytest.mark.parametrize("largest", [2**49 - 1, 2**49, 2**63 - 1])
@pytest.mark.parametrize("farthest", [4, 8191, 8192, truth.NONE])
def test_merge_orders_ids_and_distances_of_any_size(largest, farthest):
    """Small ones are sorted as one number, others as two: the same order."""
    rng = np.random.default_rng(0)
    parts = []
    for width in (3, 6, 1):
        distances = rng.integers(0, farthest, (50, width), endpoint=True).astype(np.int32)
        ids = np.where(rng.random((50, width)) < 0.3, rng.integers(0, 5, (50, width)), largest)
        missing = rng.random((50, width)) < 0.2
        parts.append((np.where(missing, truth.NONE, distances).astype(np.int32), np.where(missing, -1, ids)))
    found = merge_topk(parts, 8)
    for q in range(50):
        pairs = sorted(pair for d, i in parts for pair in zip(d[q].tolist(), i[q].tolist(), strict=True))
        assert list(zip(found[0][q].tolist(), found[1][q].tolist(), strict=True)) == pairs[:8]


def test_merge_of_one_part_cuts_it():
    part = (np.array([[1, 2, 3]], np.int32), np.array([[4, 5, 6]]))
    distances, ids = merge_topk([part], 2)
    assert (distances.tolist(), ids.tolist()) == ([[1, 2]], [[4, 5]])
    assert isinstance(merge_topk([tuple(map(torch.from_numpy, part))], 2)[0], torch.Tensor)


GOOD = (np.zeros((2, 3), np.int32), np.zeros((2, 3), np.int64))


@pytest.mark.parametrize(
    ("parts", "k"),
    [
        ([], 1),
        ([GOOD], 0),
        ([(GOOD[0], GOOD[1][:, :2])], 1),
        ([(GOOD[0].astype(np.float32), GOOD[1])], 1),
        ([(GOOD[0], GOOD[1].astype(np.int32))], 1),
        ([GOOD, (GOOD[0][:1], GOOD[1][:1])], 1),
    ],
)
def test_merge_refuses_in_one_line(parts, k):
    with pytest.raises(ValueError, match=r"^merge_topk: ") as caught:
        merge_topk(parts, k)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (None, "iterable of .distances, ids., got NoneType"),
        (3, "iterable of .distances, ids., got int"),
        ([None], r"parts\[0\] must be a pair .*got NoneType"),
        (GOOD, r"parts\[0\] must be a pair .*got ndarray"),
        ([GOOD, np.zeros((2, 2, 3))], r"parts\[1\] must be a pair .*got ndarray"),
        ([(*GOOD, GOOD[0])], r"parts\[0\] must be a pair .*got 3 values"),
        ([(GOOD[0], [1])], r"parts\[0\] must be a NumPy array .*got list"),
    ],
)
def test_merge_says_what_a_part_is(parts, message):
    with pytest.raises(TypeError, match=rf"^merge_topk: .*{message}") as caught:
        merge_topk(parts, 1)
    assert "\n" not in str(caught.value)


def test_merge_takes_any_iterable_of_pairs():
    parts = [[np.array([[d]], np.int32), np.array([[d + 3]])] for d in (2, 1)]
    for given in (tuple(parts), iter(parts), (part for part in parts), dict(enumerate(parts)).values()):
        assert merge_topk(given, 2)[1].tolist() == [[4, 5]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rescore_is_the_inner_product(dtype):
    rng = np.random.default_rng(0)
    database = truth.random_codes(rng, 300, 45)
    h = rng.integers(-8, 9, (6, 45)).astype(dtype)  # whole numbers: every sum is exact, ties are frequent
    _, ids = knn(np.packbits(h >= 0, axis=1), database, 40, bits=45)
    ids[0, 35:] = -1
    scores, best = rescore(h, database, ids, 50, bits=45)
    assert (scores.dtype, best.dtype, scores.shape) == (np.float32, np.int64, (6, 50))
    for q in range(6):
        found = ids[q][ids[q] >= 0]
        products = unpack(database[found], 45).astype(np.float64) @ h[q].astype(np.float64)
        order = sorted(range(len(found)), key=lambda i: (-products[i], found[i]))
        assert best[q].tolist() == [found[i] for i in order] + [-1] * (50 - len(found))
        assert scores[q].tolist() == [products[i] for i in order] + [-np.inf] * (50 - len(found))


def test_rescore_takes_and_gives_torch():
    h, database = torch.tensor([[1.0, -2.0]]), torch.tensor([[0b11000000], [0b10000000]], dtype=torch.uint8)
    scores, ids = rescore(h, database, torch.tensor([[0, 1]]), 1, bits=2)
    assert (scores.tolist(), ids.tolist()) == ([[3.0]], [[1]])


def test_rescore_looks_at_the_padding_of_hits_alone():
    database = np.array([[0b1100_0000], [0b0100_0001], [0b1000_0000]], np.uint8)  # row 1 is damaged
    h = np.ones((2, 2), np.float32)
    assert rescore(h, database, np.array([[0, -1], [2, 0]]), 1, bits=2)[1].tolist() == [[0], [0]]
    with pytest.raises(ValueError, match=r"^rescore: database_codes\[ids\[1\]\] row 1 has a non-zero padding bit"):
        rescore(h, database, np.array([[0, -1], [2, 1]]), 1, bits=2)


@pytest.mark.filterwarnings("ignore:overflow")
def test_rescore_puts_missing_hits_last_whatever_the_scores():
    database = np.array([[0b0000_0000], [0b1100_0000]], np.uint8)
    h = np.full((1, 2), 3e38, np.float32)  # finite, but the scores are -inf and inf
    scores, ids = rescore(h, database, np.array([[-1, 0, 1]]), 3, bits=2)
    assert ids.tolist() == [[1, 0, -1]]
    assert scores.tolist() == [[np.inf, -np.inf, -np.inf]]


@pytest.mark.parametrize(
    "change",
    [
        {"query_features": np.zeros((1, 7), np.float32)},
        {"query_features": np.zeros((1, 8), np.int8)},
        {"query_features": np.full((1, 8), np.nan, np.float32)},
        {"query_features": np.full((1, 8), np.inf, np.float16)},
        {"query_features": np.full((1, 8), -np.inf)},
        {"database_codes": np.full((4, 2), 255, np.uint8)},
        {"database_codes": np.full((4, 1), 1)},
        {"database_codes": np.full(4, 255, np.uint8)},
        {"ids": np.array([[4]])},
        {"ids": np.array([[-2]])},
        {"ids": np.array([[0]], np.int32)},
        {"ids": np.array([0])},
        {"k": 0},
        {"bits": 7},
    ],
    ids=str,
)
def test_rescore_refuses_in_one_line(change):
    good = {
        "query_features": np.zeros((1, 8), np.float32), "database_codes": np.full((4, 1), 255, np.uint8),
        "ids": np.array([[0]]), "k": 1, "bits": 8,
    }  # fmt: skip
    rescore(**good)
    with pytest.raises(ValueError, match=r"^rescore: ") as caught:
        rescore(**(good | change))
    assert "\n" not in str(caught.value)
