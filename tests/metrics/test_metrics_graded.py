"""nDCG over graded relevance against every order of tied items, and against scikit-learn's."""

from itertools import permutations, product
from math import log2

import numpy as np
import pytest
from metrics_truth import distances, random_sets
from sklearn.metrics import ndcg_score

from fasthash import metrics

# Buckets nearest first, each a tuple of the numbers of layers that its items share with the query
PATTERNS = [
    [(2,)],
    [(0,), (1,)],
    [(0, 2), (1, 1, 2)],
    [(), (2, 1, 0, 0), (2,)],
    [(1, 0, 2), (), (2, 0), (1, 1)],
    [(0, 0), (0,)],
]


def codes_of(pattern):
    """(query, database, query_layers, database_layers, bits): d ones at distance d; layers as class ids of a tree."""
    bits = max(len(pattern) - 1, 1)
    rows = [np.arange(bits) < distance for distance, bucket in enumerate(pattern) for _ in bucket]
    database = np.packbits(np.array(rows, bool).reshape(-1, bits), axis=1)
    grades = np.array([grade for bucket in pattern for grade in bucket])
    layers = [np.where(grades >= 1, 0, 1), np.where(grades >= 2, 0, 1 + (grades >= 1))]
    return np.zeros((1, database.shape[1]), np.uint8), database, [np.array([0])] * 2, layers, bits


def dcg(gains, k):
    return sum(gain / log2(1 + rank) for rank, gain in enumerate(gains[:k], start=1))


def expected_ndcg(pattern, k, gain):
    orders = [sum(order, ()) for order in product(*(permutations(bucket) for bucket in pattern))]
    best = dcg(sorted((gain(g) for g in sum(pattern, ())), reverse=True), k)
    return np.mean([dcg([gain(g) for g in order], k) for order in orders]) / best if best else 0.0


@pytest.mark.parametrize("gains", ["exponential", "linear", (1, 2), (1, 1)], ids=str)
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_is_the_mean_over_all_orders(pattern, gains):
    *sets, bits = codes_of(pattern)
    gain = (lambda g: 2**g - 1) if gains in ("exponential", (1, 2)) else (lambda g: g)
    for k in (None, *range(1, len(sets[1]) + 2)):
        got = metrics.ndcg(*sets, bits=bits, k=k, gains=gains)
        assert got.value == pytest.approx(expected_ndcg(pattern, k, gain), rel=1e-12), k
    assert got.queries_without_relevant == int(max(sum(pattern, ())) == 0)


@pytest.mark.parametrize("k", [None, 1, 7, 100, 1000])
def test_equals_scikit_learn_on_multi_label_layers(k):
    rng = np.random.default_rng(0)
    query, database, coarse_q, coarse_d = random_sets(rng, 30, 150, 12, 5, ones=0.4)
    fine_q, fine_d = rng.random((30, 70)) < 0.1, rng.random((150, 70)) < 0.1  # more than a word of labels; no tree
    gains = (1.5, 4.0)
    got = metrics.ndcg(query, database, (coarse_q, fine_q), [coarse_d, fine_d], bits=12, gains=gains, k=k)
    share = [x.astype(int) @ y.astype(int).T > 0 for x, y in ((coarse_q, coarse_d), (fine_q, fine_d))]
    truth = gains[0] * share[0] + gains[1] * share[1]
    by = -distances(query, database)
    want = [ndcg_score(truth[[i]], by[[i]], k=k) for i in range(30)]
    np.testing.assert_allclose(got.per_query, want, rtol=1e-12)
    assert got.value == pytest.approx(np.mean(want))
    assert (got.nq, got.nb, got.bits, got.k, got.gains) == (30, 150, 12, k, gains)


def test_codes_that_spell_the_tree_are_perfect():
    fine = np.repeat(np.arange(4), 5)
    coarse = fine // 2
    codes = np.packbits(np.stack([coarse, coarse, fine % 2], axis=1).astype(bool), axis=1)  # finer bits weigh less
    layers = [coarse, fine]
    assert metrics.ndcg(codes, codes, layers, layers, bits=3).value == pytest.approx(1.0, abs=1e-12)
    shuffled = codes[np.random.default_rng(1).permutation(20)]
    assert metrics.ndcg(codes, shuffled, layers, layers, bits=3).value < 0.95


def test_kinds_of_input_agree():
    torch = pytest.importorskip("torch")
    *sets, bits = codes_of(PATTERNS[4])
    hot = [[np.eye(4, dtype=np.uint8)[ids] for ids in layers] for layers in sets[2:]]
    tensors = [[torch.from_numpy(x) for x in layers] for layers in hot]
    values = [
        metrics.ndcg(*sets, bits=bits).value,
        metrics.ndcg(*sets[:2], *hot, bits=bits, threads=1).value,
        metrics.ndcg(*map(torch.from_numpy, sets[:2]), *tensors, bits=bits).value,
    ]
    assert values[0] == values[1] == values[2]


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"query_layers": np.zeros((1, 2), int)}, TypeError, "ndcg: query_labels must be a list or tuple of labels"),
        ({"query_layers": []}, ValueError, "ndcg: query_labels must have at least one layer, got none"),
        ({"database_layers": [np.zeros(5, int)]}, ValueError, "ndcg: database_labels must be 2 layers like .*, got 1"),
        ({"database_layers": [np.zeros(4, int)] * 2}, ValueError, "ndcg: database_labels must have 5 rows .*, got 4"),
        ({"gains": (1,)}, ValueError, r"ndcg: gains must be 2 finite numbers > 0, one a layer, got \(1,\)"),
        ({"gains": (0, 1)}, ValueError, "ndcg: gains must be 2 finite numbers > 0"),
        ({"gains": ("a", 1)}, TypeError, "ndcg: gains must be one of exponential, linear or numbers, got \\('a', 1\\)"),
        ({"gains": 3}, TypeError, "ndcg: gains must be one of exponential, linear or numbers, got 3"),
        ({"k": 0}, ValueError, "ndcg: k must be"),
    ],
)  # fmt: skip
def test_errors(change, kind, message):
    query, database, query_layers, database_layers, bits = codes_of(PATTERNS[2])
    given = {"query_layers": query_layers, "database_layers": database_layers, "bits": bits} | change
    with pytest.raises(kind, match=message) as error:
        metrics.ndcg(query, database, given.pop("query_layers"), given.pop("database_layers"), **given)
    assert "\n" not in str(error.value)
