"""Distances of relevant and irrelevant pairs against every pair one by one, and scikit-learn's area under the curve."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fasthash.codes import pack
from fasthash.metrics import Histograms, histograms, separation


def pairs(query, items, labels_q, labels_d):
    """(distance, relevant) of every pair."""
    distance = (query[:, None] != items[None]).sum(axis=2)
    return distance.ravel(), (labels_q.astype(int) @ labels_d.T.astype(int) > 0).ravel()


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 20), st.integers(1, 40))
def test_equals_every_pair_one_by_one(seed, nq, nb, bits):
    rng = np.random.default_rng(seed)
    query, items = rng.random((nq, bits)) < 0.5, rng.random((nb, bits)) < 0.5
    labels_q, labels_d = rng.random((nq, 3)) < 0.4, rng.random((nb, 3)) < 0.4
    found = separation(histograms(pack(query), pack(items), labels_q, labels_d, bits=bits))
    distance, relevant = pairs(query, items, labels_q, labels_d)
    near, far = distance[relevant].astype(np.float64), distance[~relevant].astype(np.float64)
    assert found.relevant.tolist() == np.bincount(distance[relevant], minlength=bits + 1).tolist()
    assert found.irrelevant.tolist() == np.bincount(distance[~relevant], minlength=bits + 1).tolist()
    assert found.relevant_mean == (pytest.approx(near.mean()) if near.size else None)
    assert found.irrelevant_mean == (pytest.approx(far.mean()) if far.size else None)
    assert found.shared == (pytest.approx((far == 0).mean()) if far.size else None)
    if near.size and far.size:
        assert found.auc == pytest.approx(roc_auc_score(relevant, -distance), abs=1e-12)
        shares = [np.bincount(d.astype(int), minlength=bits + 1) / d.size for d in (near, far)]
        assert found.overlap == pytest.approx(np.minimum(*shares).sum())
    else:
        assert (found.auc, found.overlap) == (None, None)
        assert str(found) in ("no relevant pair", "no irrelevant pair")


def one(relevant, irrelevant):
    relevant, irrelevant = np.array([relevant]), np.array([irrelevant])
    return separation(Histograms(relevant + irrelevant, relevant))


def test_by_hand():
    found = one([2, 1, 0], [0, 1, 3])
    assert found.auc == pytest.approx((2 * 4 + 1 * 3.5) / 12)
    assert (found.relevant_mean, found.irrelevant_mean) == (pytest.approx(1 / 3), 1.75)
    assert found.overlap == 0.25
    assert (found.shared, found.signs) == (0, ())
    assert "relevant pairs at distance 0.3 of 2, irrelevant ones at 1.8" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["auc"] == found.auc


def test_apart_and_the_same():
    assert one([5, 0, 0], [0, 0, 7]).auc == 1
    assert one([5, 0, 0], [0, 0, 7]).overlap == 0
    assert one([0, 0, 5], [7, 0, 0]).auc == 0
    same = one([1, 2, 1], [2, 4, 2])
    assert (same.auc, same.overlap) == (0.5, 1)
    assert str(same).endswith("probability 0.500, hardly more than chance")


def test_classes_that_share_a_code_are_told():
    rng = np.random.default_rng(0)
    centres = rng.random((10, 32)) < 0.5
    centres[1:4] = centres[0]
    ids = rng.integers(0, 10, 400)
    rows = pack(centres[ids])
    found = separation(histograms(rows[:50], rows[50:], ids[:50], ids[50:], bits=32))
    share = (ids[:50, None] != ids[50:]) & (ids[:50, None] < 4) & (ids[50:] < 4)
    assert found.shared == share.sum() / (ids[:50, None] != ids[50:]).sum()
    assert found.signs == (f"classes share one code: {found.shared:.0%} of the irrelevant pairs have distance 0",)


def test_codes_of_two_bits_share_codes_by_their_length_alone():
    rng = np.random.default_rng(0)
    rows, ids = pack(rng.random((500, 2)) < 0.5), rng.integers(0, 4, 500)
    found = separation(histograms(rows, rows, ids, ids, bits=2))
    assert found.shared > 0.2
    assert found.signs == ()
