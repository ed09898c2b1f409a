"""Everything at once equals everything one by one, in bounded memory."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from metrics_truth import random_sets

from fasthash import _native, metrics

BITS = 21


@pytest.fixture
def sets():
    found = list(random_sets(np.random.default_rng(21), 40, 900, BITS, 70, ones=0.4, labelled=0.06))
    found[2][[0, 9]] = False
    return found


def options(measure):
    return {"protocol": measure.protocol, "ties": measure.ties, "k": measure.k, "no_relevant": measure.no_relevant}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("no_relevant", metrics.NO_RELEVANT)
@pytest.mark.parametrize("graded", [False, True])
def test_equals_what_is_measured_one_by_one(sets, graded, no_relevant, threads):
    measures = {
        f"{protocol.name} {ties} {rule}": metrics.Measure(protocol.name, ties, protocol.default_k and 30, rule)
        for protocol in metrics.protocols()
        for ties in metrics.TIES
        for rule in metrics.NO_RELEVANT
    }
    found = metrics.summary(
        *sets, bits=BITS, measures=measures, n=[1, 50, 900, 7], ties=tuple(metrics.TIES), radius=4, graded=graded,
        graded_k=60, no_relevant=no_relevant, threads=threads,
    )  # fmt: skip
    for name, measure in measures.items():
        alone = metrics.evaluate(*sets, bits=BITS, **options(measure))
        assert found.scores[name].value == pytest.approx(alone.value, abs=1e-14), name
        np.testing.assert_allclose(found.scores[name].per_query, alone.per_query, rtol=1e-13, atol=1e-15)
        np.testing.assert_array_equal(found.scores[name].pr.retrieved, alone.pr.retrieved)
        np.testing.assert_array_equal(found.scores[name].counted, alone.counted)
    rest = {"bits": BITS, "no_relevant": no_relevant}
    for ties in metrics.TIES:
        curve = metrics.precision_recall_by_rank(*sets, [1, 7, 50, 900], ties=ties, **rest)
        for name in ("n", "precision", "recall"):
            np.testing.assert_array_equal(getattr(found.by_rank[ties], name), getattr(curve, name))
    assert found.lookup == metrics.lookup(*sets, radius=4, **rest)
    np.testing.assert_array_equal(found.pr.precision, metrics.precision_recall(*sets, **rest).precision)
    np.testing.assert_array_equal(found.by_radius.recall, metrics.precision_recall_by_radius(*sets, **rest).recall)
    assert (found.ndcg is not None) == graded
    if graded:
        np.testing.assert_array_equal(found.ndcg.per_query, metrics.ndcg(*sets, k=60, **rest).per_query)
        assert found.ndcg.counted.sum() == (40 if no_relevant == "zero" else 38)


def test_defaults_are_every_protocol(sets):
    found = metrics.summary(*sets, bits=BITS)
    assert {score.protocol for score in found.scores.values()} == {p.name for p in metrics.protocols()}
    assert list(found.by_rank) == ["expected"]
    text = str(found)
    for name, score in found.scores.items():
        assert f"{name}: {score.value:.4f}" in text
    assert f"area under the precision-recall curve: {found.pr.area:.4f}" in text


def test_all_papers_at_once(sets):
    papers = metrics.papers()
    found = metrics.summary(*sets, bits=BITS, measures={name: paper.measure for name, paper in papers.items()})
    for name, paper in papers.items():
        assert found.scores[name].value == pytest.approx(metrics.evaluate(*sets, bits=BITS, **paper.options).value)


def test_is_json(sets):
    value = metrics.summary(*sets, bits=BITS, graded=True, ties=("expected", "pessimistic")).to_dict()
    again = json.loads(json.dumps(value))
    assert again == value
    assert (again["queries"], again["database"], again["bits"], again["queries_without_relevant"]) == (40, 900, BITS, 2)
    assert again["map"]["map_at_50"]["k"] == 50
    assert set(again["by_rank"]) == {"expected", "pessimistic"}


@pytest.mark.parametrize("bits", [5, 64, 300])
@pytest.mark.parametrize("classes", [1, 6, 64, 130])
def test_grades_are_counted_alike_by_every_instruction_set(bits, classes):
    """Against the matrix of common labels, for frequent and rare classes, few and many in a tile."""
    rng = np.random.default_rng(bits + classes)
    sets = random_sets(rng, 35, 1100, bits, classes, ones=0.45, labelled=rng.random(classes) ** 3)
    common = sets[2].astype(int) @ sets[3].astype(int).T
    by = np.bitwise_count(sets[0][:, None] ^ sets[1][None]).sum(-1, dtype=np.int64)
    gains = np.arange(1.0, classes + 1) ** 2
    for isa in _native.isa_names():
        with _native.use_isa(isa):
            for threads in (1, 3):
                evaluation = metrics._histograms.checked_evaluation(*sets, bits=bits, threads=threads, op="test")
                found = evaluation.graded_histogram(gains)
                for q in range(35):
                    np.testing.assert_array_equal(found.counts[q], np.bincount(by[q], minlength=bits + 1))
                    hit = common[q] > 0
                    np.testing.assert_array_equal(found.relevant[q], np.bincount(by[q][hit], minlength=bits + 1))
                    want = np.bincount(by[q], common[q] ** 2.0, minlength=bits + 1)
                    np.testing.assert_array_equal(found.gained[q], want)
                    number = np.bincount(common[q], minlength=classes + 1)[1:]
                    np.testing.assert_array_equal(found.totals[q], number)


def test_too_few_gains_are_refused():
    sets = random_sets(np.random.default_rng(0), 3, 20, 8, 5, labelled=1.0)
    evaluation = metrics._histograms.checked_evaluation(*sets, bits=8, threads=1, op="test")
    with pytest.raises(ValueError, match="test: gains must be of 5 common labels, got 4"):
        evaluation.graded_histogram(np.ones(4))


def test_grades_of_class_ids_are_relevance():
    rng = np.random.default_rng(0)
    query, database, _, _ = random_sets(rng, 12, 300, 9, 1)
    ids_q, ids_d = rng.integers(0, 5, 12), rng.integers(0, 7, 300)
    hot = [(ids[:, None] == np.arange(7)) for ids in (ids_q, ids_d)]
    want = metrics.ndcg(query, database, *hot, bits=9, k=40)
    got = metrics.ndcg(query, database, ids_q, ids_d, bits=9, k=40)
    np.testing.assert_allclose(got.per_query, want.per_query, rtol=1e-14)
    layers = metrics.ndcg(query, database, [ids_q], [ids_d], bits=9, k=40)
    np.testing.assert_allclose(got.per_query, layers.per_query, rtol=1e-14)
    assert (got.graded_by, layers.graded_by) == ("labels", "layers")


BOUNDED = """
import resource, sys
import numpy as np
from fasthash import metrics

bits, nq, nb, limit = 64, {nq}, {nb}, {limit}
rng = np.random.default_rng(0)
query, database = (rng.integers(0, 256, (n, bits // 8), dtype=np.uint8) for n in (nq, nb))
ids = rng.integers(0, 80, nq), rng.integers(0, 80, nb)
few = metrics.summary(query[:2], database[:1000], ids[0][:2], ids[1][:1000], bits=bits)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = metrics.summary(query, database, *ids, bits=bits, threads=2)
used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
assert found.histograms.counts.sum() == nq * nb
assert 0 < found.scores["map_all"].value < 0.05
assert used < limit, f"{{used}} MiB"
"""


@pytest.mark.skipif("FASTHASH_SANITIZED" in os.environ, reason="the sanitizer's own memory has no bound")
@pytest.mark.parametrize(
    ("nq", "nb", "limit"),
    [
        (2000, 20_000, 60),  # a matrix of float32 would be 153 MiB
        (20, 2_000_000, 100),  # ranks are counted, not listed: 15 MiB of codes, 15 MiB of labels, and their bitmaps
    ],
)
def test_memory_is_bounded(nq, nb, limit):
    code = BOUNDED.format(nq=nq, nb=nb, limit=limit)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"measures": {"mine": "map_all"}}, TypeError, "measures must be of type Measure, got str for 'mine'"),
        ({"ties": ("best",)}, ValueError, "ties must be one of expected, stable, optimistic, pessimistic, got 'best'"),
        ({"n": [0]}, ValueError, "n must be a whole number of at least 1, got 0"),
        ({"n": [901]}, ValueError, "n must be at most the 900 database items, got 901"),
        ({"radius": -1}, ValueError, "radius must be a whole number from 0"),
        ({"graded": True, "graded_k": 0}, ValueError, "graded_k must be a whole number of at least 1, got 0"),
        (
            {"graded": True, "gains": "log"},
            ValueError,
            "gains must be one of exponential, linear or numbers, got 'log'",
        ),
        ({"graded": True, "gains": ()}, ValueError, "gains must be finite numbers > 0, of 1, 2, .. common labels"),
        ({"no_relevant": "drop"}, ValueError, "no_relevant must be one of zero, skip, got 'drop'"),
        ({"bits": 3}, ValueError, r"query must be \[n, 1\] for 3 bits"),
    ],
)
def test_bad_input_is_refused_in_one_line(sets, change, kind, message):
    with pytest.raises(kind, match=f"^summary: {message}") as error:
        metrics.summary(*sets, **({"bits": BITS} | change))
    assert "\n" not in str(error.value)
