"""Agreement with scikit-learn, trec_eval (pytrec_eval), ir-measures and torchmetrics where definitions meet."""

import numpy as np
import pytest
from metrics_truth import distances, random_sets, relevance

from fasthash import metrics

BITS, NQ = 300, 15


@pytest.fixture(scope="module")
def sets():
    """Codes with one item at each distance from every query, so that there are no ties; each query has hits."""
    rng = np.random.default_rng(4)
    database = np.packbits(np.arange(BITS) < rng.permutation(BITS + 1)[:, None], axis=1)
    query = np.zeros((NQ, database.shape[1]), np.uint8)
    labels_q, labels_d = rng.random((NQ, 10)) < 0.2, rng.random((BITS + 1, 10)) < 0.05
    labels_q[:, 0], labels_d[::50, 0] = True, True
    return query, database, labels_q, labels_d


@pytest.fixture(scope="module")
def truth(sets):
    return distances(*sets[:2]), relevance(*sets[2:])


@pytest.mark.parametrize("ties", metrics.TIES)
def test_scikit_learn_average_precision(sets, truth, ties):
    from sklearn.metrics import average_precision_score

    by, relevant = truth
    want = [average_precision_score(r, -d) for d, r in zip(by, relevant, strict=True)]
    np.testing.assert_allclose(metrics.average_precision(*sets, bits=BITS, ties=ties), want, rtol=1e-12)


def test_scikit_learn_area_of_pooled_pairs_with_ties():
    from sklearn.metrics import average_precision_score

    sets = random_sets(np.random.default_rng(2), 20, 300, 14, 6, ones=0.4)
    want = average_precision_score(relevance(*sets[2:]).ravel(), -distances(*sets[:2]).ravel())
    assert metrics.precision_recall(*sets, bits=14).area == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("k", [None, 5, 40])
def test_scikit_learn_ndcg_by_common_labels_with_ties(k):
    from sklearn.metrics import ndcg_score

    sets = random_sets(np.random.default_rng(3), 25, 260, 12, 90, ones=0.4, labelled=0.08)
    common = sets[2].astype(int) @ sets[3].astype(int).T
    assert common.max() > 3
    by = -distances(*sets[:2])
    for gains, truth in (
        ("exponential", 2.0**common - 1),
        ("linear", common),
        ((1, 5, 6), np.r_[0, 1, 5, 6][common.clip(0, 3)]),
    ):
        want = [ndcg_score(truth[[i]], by[[i]], k=k) for i in range(len(by))]
        got = metrics.ndcg(*sets, bits=12, gains=gains, k=k)
        np.testing.assert_allclose(got.per_query, want, rtol=1e-12)


def trec(measure, truth):
    """Values by trec_eval; scores are negative distances."""
    pytrec_eval = pytest.importorskip("pytrec_eval")
    by, relevant = truth
    names = [[str(i) for i in range(n)] for n in by.shape]
    qrels = {
        q: {d: int(x) for d, x in zip(names[1], row, strict=True)} for q, row in zip(names[0], relevant, strict=True)
    }
    runs = {q: {d: -float(x) for d, x in zip(names[1], row, strict=True)} for q, row in zip(names[0], by, strict=True)}
    found = pytrec_eval.RelevanceEvaluator(qrels, {measure}).evaluate(runs)
    return [found[q][measure.replace(".", "_")] for q in names[0]]


def test_trec_eval(sets, truth):
    whole = metrics.average_precision(*sets, bits=BITS)
    np.testing.assert_allclose(whole, trec("map", truth), rtol=1e-6)  # it keeps single precision
    cut = metrics.evaluate(*sets, bits=BITS, protocol="map_at_k", k=20)
    # trec_eval's map_cut divides by R, not by min(k, R): the sums are the same
    total, hits = truth[1].sum(axis=1), np.round(20 * precision_per_query(sets, 20))
    np.testing.assert_allclose(cut.per_query * hits / total, trec("map_cut.20", truth), rtol=1e-6)
    minimum = metrics.average_precision(*sets, bits=BITS, protocol="map_at_k_minR", k=20)
    np.testing.assert_allclose(minimum * np.minimum(20, total) / total, trec("map_cut.20", truth), rtol=1e-6)
    assert metrics.precision_at(*sets, 30, bits=BITS) == pytest.approx(np.mean(trec("P.30", truth)), rel=1e-6)
    assert metrics.recall_at(*sets, 30, bits=BITS) == pytest.approx(np.mean(trec("recall.30", truth)), rel=1e-6)


def precision_per_query(sets, n):
    query, database, labels_q, labels_d = sets
    one = (metrics.precision_at(query[[i]], database, labels_q[[i]], labels_d, n, bits=BITS) for i in range(NQ))
    return np.array(list(one))


def test_ir_measures(sets, truth):
    ir_measures = pytest.importorskip("ir_measures")
    by, relevant = truth
    qrels = [ir_measures.Qrel(str(q), str(d), int(relevant[q, d])) for q in range(NQ) for d in range(BITS + 1)]
    run = [ir_measures.ScoredDoc(str(q), str(d), -float(by[q, d])) for q in range(NQ) for d in range(BITS + 1)]
    wanted = [ir_measures.AP, ir_measures.P @ 10, ir_measures.R @ 100, ir_measures.nDCG @ 25]
    found = ir_measures.calc_aggregate(wanted, qrels, run)
    values = [
        metrics.evaluate(*sets, bits=BITS).value, metrics.precision_at(*sets, 10, bits=BITS),
        metrics.recall_at(*sets, 100, bits=BITS), metrics.ndcg(*sets[:2], *single(sets), bits=BITS, k=25).value,
    ]  # fmt: skip
    assert values == pytest.approx([found[measure] for measure in wanted], rel=1e-6)


def single(sets):
    """Both sides' labels as layers of one: an item gains 1 when it shares any."""
    return [sets[2]], [sets[3]]


def test_torchmetrics(sets, truth):
    torch = pytest.importorskip("torch")
    retrieval = pytest.importorskip("torchmetrics.retrieval")
    by, relevant = (torch.from_numpy(np.ascontiguousarray(x)).ravel() for x in truth)
    which = torch.arange(NQ).repeat_interleave(BITS + 1)

    def value(metric):
        return float(metric(BITS + 1.0 - by, relevant, indexes=which))  # it wants scores above 0

    assert metrics.evaluate(*sets, bits=BITS).value == pytest.approx(value(retrieval.RetrievalMAP()), abs=1e-6)
    cut = metrics.evaluate(*sets, bits=BITS, protocol="map_at_k", k=20)  # as its top_k, divided by the hits found
    assert cut.value == pytest.approx(value(retrieval.RetrievalMAP(top_k=20)), abs=1e-6)
    assert metrics.precision_at(*sets, 12, bits=BITS) == pytest.approx(
        value(retrieval.RetrievalPrecision(top_k=12)), abs=1e-6
    )
    assert metrics.recall_at(*sets, 12, bits=BITS) == pytest.approx(
        value(retrieval.RetrievalRecall(top_k=12)), abs=1e-6
    )


@pytest.mark.parametrize(("no_relevant", "action"), [("zero", "neg"), ("skip", "skip")])
def test_torchmetrics_treats_queries_without_relevant_items_alike(sets, no_relevant, action):
    torch = pytest.importorskip("torch")
    retrieval = pytest.importorskip("torchmetrics.retrieval")
    labels_q = sets[2].copy()
    labels_q[2:5] = False
    given = sets[0], sets[1], labels_q, sets[3]
    by, relevant = (
        torch.from_numpy(np.ascontiguousarray(x)).ravel() for x in (distances(*sets[:2]), relevance(labels_q, sets[3]))
    )
    which = torch.arange(NQ).repeat_interleave(BITS + 1)
    want = float(retrieval.RetrievalMAP(empty_target_action=action)(BITS + 1.0 - by, relevant, indexes=which))
    got = metrics.evaluate(*given, bits=BITS, no_relevant=no_relevant)
    assert got.value == pytest.approx(want, abs=1e-6)
