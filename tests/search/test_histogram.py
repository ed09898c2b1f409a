import numpy as np
import pytest
import torch
from hamming_truth import distances, random_codes
from hypothesis import given
from hypothesis import strategies as st

from fasthash.search import histogram, range_search


def truth(queries, database, bits, relevant=None):
    by = distances(queries, database)
    relevant = np.ones(by.shape, bool) if relevant is None else relevant
    return np.stack([np.bincount(row[mask], minlength=bits + 1) for row, mask in zip(by, relevant, strict=True)])


def multi_hot(rng, n, classes=70):
    return (rng.random((n, classes)) < 0.03).astype(np.float32)


@pytest.mark.parametrize("bits", [1, 9, 64, 200])
@pytest.mark.parametrize("form", ["multi-hot", "class ids", None])
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_counts_and_relevant(bits, form, kind):
    rng = np.random.default_rng(bits)
    queries, database = random_codes(rng, 5, bits), random_codes(rng, 900, bits)
    make = {"multi-hot": multi_hot, "class ids": lambda rng, n: rng.integers(0, 9, n), None: lambda rng, n: None}[form]
    mine, theirs = make(rng, 5), make(rng, 900)
    labels = {} if form is None else {"query_labels": kind(mine), "database_labels": kind(theirs)}
    got = histogram(kind(queries), kind(database), bits=bits, threads=2, **labels)
    assert isinstance(got.counts, type(kind(queries)))
    np.testing.assert_array_equal(got.counts, truth(queries, database, bits))
    if form is None:
        assert got.relevant is None
        return
    relevant = mine @ theirs.T > 0 if form == "multi-hot" else mine[:, None] == theirs
    np.testing.assert_array_equal(got.relevant, truth(queries, database, bits, relevant))
    assert str(got.counts.dtype).endswith("int64")
    assert str(got.relevant.dtype).endswith("int64")


@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_sums_are_those_of_range_search(nq, nb, seed):
    rng = np.random.default_rng(seed)
    queries, database = random_codes(rng, nq, 24), random_codes(rng, nb, 24)
    cumulative = histogram(queries, database).counts.cumsum(axis=1)
    for radius in (0, 8, 12, 24):
        np.testing.assert_array_equal(cumulative[:, radius], np.diff(range_search(queries, database, radius)[0]))
    assert (cumulative[:, -1] == nb).all()


Q, DB = random_codes(np.random.default_rng(0), 2, 16), random_codes(np.random.default_rng(1), 9, 16)
IDS = {"query_labels": np.arange(2), "database_labels": np.arange(9)}
BAD = {
    "a list": (TypeError, (Q.tolist(), DB), {}),
    "float threads": (TypeError, (Q, DB), {"threads": 1.5}),
    "a vector": (ValueError, (Q[0], DB), {}),
    "empty": (ValueError, (Q, DB[:0]), {}),
    "int codes": (ValueError, (Q.astype(int), DB), {}),
    "other widths": (ValueError, (Q[:, :1], DB), {}),
    "bits 0": (ValueError, (Q, DB), {"bits": 0}),
    "padding": (ValueError, (Q | 1, DB & 254), {"bits": 15}),
    "gaps": (ValueError, (Q, np.repeat(DB, 2, axis=1)[:, ::2]), {}),
    "labels of one side": (ValueError, (Q, DB), {"query_labels": np.arange(2)}),
    "labels too short": (ValueError, (Q, DB), IDS | {"database_labels": np.arange(8)}),
    "float class ids": (TypeError, (Q, DB), IDS | {"query_labels": np.zeros(2)}),
    "a negative id": (ValueError, (Q, DB), IDS | {"query_labels": np.array([0, -1])}),
    "forms": (ValueError, (Q, DB), IDS | {"query_labels": np.ones((2, 3))}),
    "widths of labels": (ValueError, (Q, DB), {"query_labels": np.ones((2, 3)), "database_labels": np.ones((9, 65))}),
    "counts for labels": (
        ValueError,
        (Q, DB),
        {"query_labels": np.ones((2, 3)) * 2, "database_labels": np.ones((9, 3))},
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_line(case):
    error, arguments, options = BAD[case]
    with pytest.raises(error, match=r"^histogram: ") as caught:
        histogram(*arguments, **options)
    assert "\n" not in str(caught.value)
