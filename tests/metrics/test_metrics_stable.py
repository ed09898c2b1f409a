"""The ranking by (distance, database index) against a sort."""

import numpy as np
import pytest
from metrics_truth import ap_of_ranked, random_sets, ranked

from fasthash import _native, metrics

BITS = [1, 2, 7, 8, 9, 31, 33, 64, 65, 96, 127, 128, 130]
SIZES = [(1, 1), (5, 130), (33, 700)]  # one item; ragged; several blocks of queries and tiles
TOL = {"rtol": 1e-12, "atol": 1e-12}


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(("nq", "nb"), SIZES)
def test_matches_a_stable_sort(bits, nq, nb):
    sets = random_sets(np.random.default_rng(bits), nq, nb, bits, classes=9, ones=0.4)
    ordered = ranked(*sets)
    got = metrics.evaluate(*sets, bits=bits, ties="stable")
    np.testing.assert_allclose(got.per_query, ap_of_ranked(ordered, "map_all"), **TOL)
    assert got.value == pytest.approx(got.per_query.mean(), abs=1e-15)


@pytest.mark.parametrize("protocol", ["map_at_k", "map_at_k_hitonly", "map_at_k_minR", "map_first_k_relevant"])
@pytest.mark.parametrize("k", [1, 2, 50, 511, 700, 5000])
@pytest.mark.parametrize("bits", [1, 16, 64, 130])
def test_cut_matches_a_stable_sort(protocol, k, bits):
    sets = random_sets(np.random.default_rng(k), 21, 700, bits, classes=30, labelled=0.05)
    want = ap_of_ranked(ranked(*sets), protocol, k)
    got = metrics.evaluate(*sets, bits=bits, protocol=protocol, ties="stable", k=k)
    np.testing.assert_allclose(got.per_query, np.nan_to_num(want), **TOL)
    counted = want[~np.isnan(want)]
    assert got.value == pytest.approx(counted.mean() if len(counted) else 0.0, abs=1e-12)


def test_default_cut_is_fifty():
    sets = random_sets(np.random.default_rng(0), 4, 300, 12, classes=5)
    got = metrics.evaluate(*sets, bits=12, protocol="map_at_k", ties="stable")
    assert got.k == 50
    np.testing.assert_allclose(got.per_query, ap_of_ranked(ranked(*sets), "map_at_k", 50), **TOL)


@pytest.mark.parametrize("classes", [1, 64, 65, 128, 129, 300])
@pytest.mark.parametrize("ties", ["expected", "stable"])
def test_any_number_of_classes(classes, ties):
    rng = np.random.default_rng(classes)
    sets = list(random_sets(rng, 9, 600, 10, classes, labelled=2.0 / classes))
    sets[3][:, -1] |= rng.random(600) < 0.1  # the last class matters, in whichever word it lies
    got = metrics.evaluate(*sets, bits=10, ties=ties)
    ordered = ranked(*sets)
    assert got.histograms.relevant.sum() == ordered.sum()
    if ties == "stable":
        np.testing.assert_allclose(got.per_query, ap_of_ranked(ordered, "map_all"), **TOL)


@pytest.mark.parametrize("bits", [5, 64, 128, 300])
def test_every_instruction_set_and_thread_count_gives_the_same_bits(bits):
    sets = random_sets(np.random.default_rng(bits), 70, 1500, bits, classes=7, ones=0.45)
    seen = {}
    for isa in _native.isa_names():
        for threads in (1, 2, 3):
            with _native.use_isa(isa):
                for protocol in metrics.protocols():
                    for ties in protocol.ties:
                        got = metrics.evaluate(*sets, bits=bits, protocol=protocol.name, ties=ties, threads=threads)
                        first = seen.setdefault((protocol.name, ties), got)
                        np.testing.assert_array_equal(got.per_query, first.per_query)
                        np.testing.assert_array_equal(got.histograms.counts, first.histograms.counts)
                        np.testing.assert_array_equal(got.histograms.relevant, first.histograms.relevant)


def test_precision_at_n_stable():
    sets = random_sets(np.random.default_rng(3), 8, 200, 9, classes=4)
    ordered = ranked(*sets)
    numbers = [1, 3, 50, 200]
    want = [ordered[:, :n].mean() for n in numbers]
    np.testing.assert_allclose(metrics.precision_at(*sets, numbers, bits=9, ties="stable"), want, **TOL)
