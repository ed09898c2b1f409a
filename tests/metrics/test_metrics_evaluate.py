"""What users see: results of the right kind, agreement with scikit-learn, one-line errors."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from metrics_truth import codes_of, distances, random_sets, relevance

from fasthash import _histogram, _native, metrics

NQ, NB, BITS, CLASSES = 12, 150, 20, 5


@pytest.fixture
def sets():
    return random_sets(np.random.default_rng(7), NQ, NB, BITS, CLASSES)


@pytest.mark.parametrize("ties", ["expected", "stable"])
def test_agrees_with_scikit_learn_without_ties(ties):
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(1)
    bits = 130
    database = np.packbits(np.arange(bits) < rng.permutation(bits + 1)[:, None], axis=1)  # all distances differ
    query = np.zeros((1, database.shape[1]), np.uint8)
    labels = (rng.random(bits + 1) < 0.3).astype(int)
    want = average_precision_score(labels, -distances(query, database)[0])
    assert metrics.evaluate(query, database, np.array([1]), labels, bits=bits, ties=ties).value == pytest.approx(
        want, abs=1e-12
    )


def test_curve_by_radius_agrees_with_scikit_learn(sets):
    from sklearn.metrics import precision_recall_curve

    by, relevant = distances(*sets[:2]), relevance(*sets[2:])
    precision, recall, thresholds = precision_recall_curve(relevant.ravel(), -by.ravel())
    curve = metrics.precision_recall(*sets, bits=BITS)
    at = (-thresholds).astype(int)
    np.testing.assert_allclose(curve.precision[at], precision[:-1], rtol=1e-12)
    np.testing.assert_allclose(curve.recall[at], recall[:-1], rtol=1e-12)
    np.testing.assert_array_equal(curve.retrieved, [(by <= r).sum() for r in range(BITS + 1)])
    np.testing.assert_array_equal(curve.relevant, [(relevant & (by <= r)).sum() for r in range(BITS + 1)])
    np.testing.assert_array_equal(curve.radius, np.arange(BITS + 1))
    assert (curve.precision[curve.retrieved == 0] == 0).all()


@pytest.mark.parametrize("radius", [0, 2, 7, BITS, 1000])
def test_lookup(sets, radius):
    by, relevant = distances(*sets[:2]), relevance(*sets[2:])
    inside = by <= radius
    hits = (inside & relevant).sum(axis=1)
    want = np.where(inside.any(axis=1), hits / np.maximum(inside.sum(axis=1), 1), 0).mean()
    got = metrics.lookup(*sets, bits=BITS, radius=radius)
    assert got.precision == pytest.approx(want, abs=1e-12)
    assert got.recall == pytest.approx((hits / np.maximum(relevant.sum(axis=1), 1)).mean(), abs=1e-12)
    assert got.empty == (~inside.any(axis=1)).sum()
    assert metrics.evaluate(*sets, bits=BITS).lookup(radius) == got


def test_scores(sets):
    labels_q, labels_d = sets[2:]
    labels_q[:, 0], labels_d[:, 0] = True, True
    labels_q[:3], labels_d[:10] = False, False
    scores = metrics.evaluate(*sets, bits=BITS)
    assert (scores.nq, scores.nb, scores.bits, scores.k) == (NQ, NB, BITS, None)
    assert scores.per_query.shape == (NQ,)
    assert scores.per_query.dtype == np.float64
    assert scores.value == pytest.approx(scores.per_query.mean())
    assert (scores.unlabelled_queries, scores.unlabelled_items) == (3, 10)
    assert scores.queries_without_relevant == 3
    assert (scores.per_query[:3] == 0).all()
    text = str(scores)
    assert f"mAP {scores.value:.4f} (map_all, expected ties)" in text
    assert "3 queries without a relevant item" in text
    assert "10 database items without a label" in text
    with pytest.raises(dataclasses.FrozenInstanceError):
        scores.value = 1.0
    np.testing.assert_array_equal(metrics.average_precision(*sets, bits=BITS), scores.per_query)


@pytest.mark.parametrize("ties", ["expected", "stable"])
@pytest.mark.parametrize("protocol", ["map_all", "map_at_k", "map_at_k_hitonly", "map_at_k_minR"])
def test_all_relevant_is_one_and_none_is_zero(ties, protocol):
    rng = np.random.default_rng(0)
    query, database, _, _ = random_sets(rng, 3, 70, 16, 1)
    for label, want in ((1, 1.0), (0, 0.0)):
        got = metrics.evaluate(
            query, database, np.ones(3, int), np.full(70, label), bits=16, protocol=protocol, ties=ties
        )
        assert got.value == pytest.approx(want, abs=1e-12)


def test_single_item():
    *sets, bits = codes_of([(0, 0), (1, 1)])
    assert metrics.evaluate(*sets, bits=bits).value == 1.0
    assert metrics.evaluate(*sets, bits=bits, protocol="map_at_k", ties="stable").value == 1.0


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int64, np.float16, np.float32, np.float64])
def test_label_dtypes(sets, dtype):
    query, database, labels_q, labels_d = sets
    want = metrics.evaluate(*sets, bits=BITS).per_query
    got = metrics.evaluate(query, database, labels_q.astype(dtype), labels_d.astype(dtype), bits=BITS)
    np.testing.assert_array_equal(got.per_query, want)


def test_layouts_of_memory(sets):
    query, database, labels_q, labels_d = sets
    want = metrics.evaluate(*sets, bits=BITS, ties="stable").per_query
    spread = np.zeros((2 * NB, database.shape[1] + 3), np.uint8)[::2, 3:]
    spread[:] = database
    got = metrics.evaluate(
        np.asfortranarray(query), spread, np.asfortranarray(labels_q), labels_d, bits=BITS, ties="stable"
    )
    np.testing.assert_array_equal(got.per_query, want)


def test_torch_in_torch_out(sets):
    torch = pytest.importorskip("torch")
    tensors = [torch.from_numpy(array) for array in sets]
    want = metrics.average_precision(*sets, bits=BITS)
    got = metrics.average_precision(*tensors, bits=BITS)
    assert isinstance(got, torch.Tensor)
    np.testing.assert_array_equal(got.numpy(), want)
    half = metrics.evaluate(*tensors[:2], *(t.to(torch.bfloat16) for t in tensors[2:]), bits=BITS)
    np.testing.assert_array_equal(half.per_query, want)


@pytest.mark.gpu
def test_cuda_tensors(sets):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    got = metrics.average_precision(*(torch.from_numpy(array).cuda() for array in sets), bits=BITS)
    assert got.is_cuda
    np.testing.assert_array_equal(got.cpu().numpy(), metrics.average_precision(*sets, bits=BITS))


@pytest.mark.parametrize("ties", metrics.TIES)
def test_codes_on_a_device_are_counted_there(sets, ties, monkeypatch):
    """The path that CUDA tensors take, with a counter of its own in the place of the kernels."""
    from fasthash.metrics import _histograms

    calls = []

    def counted(query, database, labels, **options):
        calls.append(options["op"])
        return _histogram.histogram(query, database, labels, **options)

    want = metrics.evaluate(*sets, bits=BITS, ties=ties)
    monkeypatch.setattr(_histograms, "histogram", counted)
    monkeypatch.setattr(_native, "on_device", lambda *codes: not calls)  # what counts does so on the host
    got = metrics.evaluate(*sets, bits=BITS, ties=ties)
    assert calls == ["evaluate"]
    np.testing.assert_array_equal(got.per_query, want.per_query)
    assert (got.unlabelled_items, got.unlabelled_queries) == (want.unlabelled_items, want.unlabelled_queries)


def test_protocols_are_what_evaluate_takes(sets):
    names = [protocol.name for protocol in metrics.protocols()]
    assert len(set(names)) == len(names) >= 4
    for protocol in metrics.protocols():
        for field in dataclasses.fields(protocol):
            assert getattr(protocol, field.name) or field.name == "default_k"
        assert protocol.name in str(protocol)
        assert set(protocol.ties) <= set(metrics.TIES)
        for ties in protocol.ties:
            scores = metrics.evaluate(*sets, bits=BITS, protocol=protocol.name, ties=ties)
            assert (scores.protocol, scores.ties, scores.k) == (protocol.name, ties, protocol.default_k)


def replaced(sets, **changes):
    names = ("query", "database", "query_labels", "database_labels")
    return [changes.get(name, array) for name, array in zip(names, sets, strict=True)]


def poisoned(labels, value, dtype=np.float64):
    values = labels.astype(dtype)
    values[4, 1] = value
    return values


BAD = {
    "codes not packed": (lambda s: replaced(s, query=np.ones((NQ, BITS))), {}, "query must be packed uint8"),
    "code width": (lambda s: replaced(s, database=s[1][:, :2]), {}, r"database must be \[n, 3\] for 20 bits"),
    "padding bit": (lambda s: replaced(s, database=s[1] | 1), {}, "database row 0 has a non-zero padding bit"),
    "bits": (lambda s: s, {"bits": 0}, "bits must be a whole number"),
    "no queries": (lambda s: replaced(s, query=s[0][:0], query_labels=s[2][:0]), {}, "at least one row, got 0 and 150"),
    "no database": (lambda s: replaced(s, database=s[1][:0], database_labels=s[3][:0]), {}, "at least one row"),
    "query rows": (lambda s: replaced(s, query_labels=s[2][1:]), {}, "query_labels must have 12 rows like the codes"),
    "database rows": (lambda s: replaced(s, database_labels=s[3][1:]), {}, "database_labels must have 150 rows"),
    "label widths": (lambda s: replaced(s, query_labels=s[2][:, :4]), {}, r"of one form and width, got \(12, 4\)"),
    "two forms": (lambda s: replaced(s, query_labels=np.arange(NQ)), {}, "of one form and width"),
    "label rank": (lambda s: replaced(s, query_labels=s[2][None]), {}, "multi-hot"),
    "no class": (lambda s: replaced(s, query_labels=s[2][:, :0]), {}, "at least one class"),
    "NaN": (
        lambda s: replaced(s, query_labels=poisoned(s[2], np.nan)),
        {},
        "query_labels must be 0 or 1, got nan in row 4",
    ),
    "half": (lambda s: replaced(s, database_labels=poisoned(s[3], 0.5)), {}, "must be 0 or 1, got 0.5 in row 4"),
    "count": (lambda s: replaced(s, database_labels=poisoned(s[3], 2, int)), {}, "must be 0 or 1, got 2 in row 4"),
    "negative id": (
        lambda s: replaced(s, query_labels=np.array([0] * 11 + [-3]), database_labels=np.zeros(NB, int)),
        {},
        "class ids of 0 or more, got -3 in row 11",
    ),
    "huge id": (
        lambda s: replaced(s, query_labels=np.full(NQ, 2**63, np.uint64), database_labels=np.zeros(NB, int)),
        {},
        "below 2",
    ),
    "protocol": (lambda s: s, {"protocol": "map"}, "protocol must be one of map_all, map_at_k"),
    "ties": (
        lambda s: s,
        {"ties": "random"},
        "ties must be one of expected, stable, optimistic, pessimistic, got 'random'",
    ),
    "k of map_all": (lambda s: s, {"k": 50}, "map_all ranks the whole database and takes no k, got k=50"),
    "k of zero": (lambda s: s, {"protocol": "map_at_k", "k": 0}, "k must be a whole number of at least 1, got 0"),
    "threads": (lambda s: s, {"threads": 0}, "threads must be a whole number from 1 to 4096, got 0"),
}


@pytest.mark.parametrize("function", [metrics.evaluate, metrics.average_precision], ids=lambda f: f.__name__)
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_line(sets, case, function):
    change, options, message = BAD[case]
    with pytest.raises(ValueError, match=message) as error:
        function(*change(sets), **{"bits": BITS, **options})
    assert str(error.value).startswith(f"{function.__name__}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.linspace(0, 1, NQ), "integer class ids, got float64"),
        (np.array(["a"] * NQ), "integer class ids, got <U1"),
        (np.ones((NQ, CLASSES), complex), "booleans or real numbers, got complex128"),
        ([1] * NQ, "NumPy array or torch tensor, got list"),
    ],
    ids=["float ids", "names", "complex", "list"],
)
def test_bad_types_are_refused(sets, labels, message):
    with pytest.raises(TypeError, match=f"evaluate: query_labels .*{message}"):
        metrics.evaluate(*replaced(sets, query_labels=labels), bits=BITS)


@pytest.mark.parametrize("name", ["k", "threads"])
def test_numbers_that_are_not_whole_are_refused(sets, name):
    for value, kind in ((2.5, "float"), (True, "bool")):
        with pytest.raises(TypeError, match=f"evaluate: {name} must be a whole number, got {kind}"):
            metrics.evaluate(*sets, bits=BITS, protocol="map_at_k", **{name: value})


@pytest.mark.parametrize("n", [0, -1, 2.5, True, [1, NB + 1]], ids=str)
def test_bad_number_of_hits_is_refused(sets, n):
    with pytest.raises((ValueError, TypeError), match="precision_at: n must be"):
        metrics.precision_at(*sets, n, bits=BITS)


@pytest.mark.parametrize("radius", [-1, 1.5])
def test_bad_radius_is_refused(sets, radius):
    with pytest.raises((ValueError, TypeError), match="lookup: radius must be a whole number"):
        metrics.lookup(*sets, bits=BITS, radius=radius)


def test_needs_no_torch():
    code = (
        "import sys, numpy as np\n"
        "from fasthash import metrics\n"
        "codes, ids = np.arange(8, dtype=np.uint8)[:, None], np.arange(8) % 2\n"
        "metrics.evaluate(codes, codes, ids, ids, bits=8, ties='stable')\n"
        "assert 'torch' not in sys.modules and 'fasthash.search' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
