"""Metrics of a database in shards equal those of one array, to the last bit."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasthash import metrics
from fasthash.metrics import Histograms
from fasthash.search import shard_histograms, write_shards

BITS = 24


def make(folder, n=500, bits=BITS, rows_per_shard=90, form="multi-hot", ordered=True, seed=0):
    """Shards, the same codes by ascending id, and labels in that order."""
    rng = np.random.default_rng(seed)
    codes = np.packbits(rng.random((n + 9, bits)) < 0.5, axis=1)
    queries, codes = codes[:9], codes[9:]
    if form == "ids":
        labels = rng.integers(0, 7, n + 9)
    else:
        labels = rng.random((n + 9, 70)) < 0.03  # rows without labels among them, and more than one word
        labels = labels if form == "multi-hot" else labels.astype(np.float32)
    ids = np.arange(n) if ordered else rng.permutation(n)
    rows = [(ids[i : i + 64], codes[ids[i : i + 64]]) for i in range(0, n, 64)]
    return write_shards(folder, rows, bits, rows_per_shard=rows_per_shard), queries, codes, labels[:9], labels[9:]


def equal(a, b):
    """Whether results are the same, arrays to the last bit."""
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(equal(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and a == b


CALLS = {
    "evaluate": lambda *sets, **more: metrics.evaluate(*sets, bits=BITS, protocol="map_at_k", k=30, **more),
    "average_precision": lambda *sets, **more: metrics.average_precision(*sets, bits=BITS, **more),
    "precision_recall": lambda *sets, **more: metrics.precision_recall(*sets, bits=BITS, no_relevant="skip", **more),
    "by radius": lambda *sets, **more: metrics.precision_recall_by_radius(*sets, bits=BITS, **more),
    "by rank": lambda *sets, **more: metrics.precision_recall_by_rank(*sets, bits=BITS, **more),
    "precision_at": lambda *sets, **more: metrics.precision_at(*sets, [1, 40], bits=BITS, **more),
    "recall_at": lambda *sets, **more: metrics.recall_at(*sets, 40, bits=BITS, **more),
    "lookup": lambda *sets, **more: metrics.lookup(*sets, bits=BITS, radius=8, **more),
    "histograms": lambda *sets, **more: metrics.histograms(*sets, bits=BITS, **more),
    "summary": lambda *sets, **more: metrics.summary(*sets, bits=BITS, **more),
}


@pytest.mark.parametrize("form", ["multi-hot", "float", "ids"])
@pytest.mark.parametrize("call", CALLS)
def test_same_as_one_array(tmp_path, monkeypatch, call, form):
    monkeypatch.setattr(shard_histograms, "_ROWS", 37)
    shards, query, codes, labels_q, labels_d = make(tmp_path / "s", form=form, ordered=call != "summary")
    got, want = (CALLS[call](query, base, labels_q, labels_d) for base in (shards, codes))
    assert equal(got, want)


@pytest.mark.parametrize("ties", ["expected", "optimistic", "pessimistic"])
@pytest.mark.parametrize("protocol", [protocol.name for protocol in metrics.protocols()])
def test_every_protocol(tmp_path, ties, protocol):
    shards, *sets = make(tmp_path / "s", ordered=False)
    query, codes, labels_q, labels_d = sets
    got, want = (
        metrics.evaluate(query, base, labels_q, labels_d, bits=BITS, protocol=protocol, ties=ties)
        for base in (shards, codes)
    )
    assert equal(got, want)
    assert str(got) == str(want)
    assert got.unlabelled_items == int((~labels_d.any(axis=1)).sum()) > 0


@settings(deadline=None, max_examples=25)
@given(
    n=st.integers(1, 80),
    size=st.integers(1, 90),
    bits=st.sampled_from([1, 7, 64]),
    form=st.sampled_from(["multi-hot", "ids"]),
    ordered=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_spread(tmp_path_factory, n, size, bits, form, ordered, seed):
    folder = tmp_path_factory.mktemp("shards") / "s"
    shards, query, codes, labels_q, labels_d = make(folder, n, bits, size, form, ordered, seed)
    got, want = (metrics.summary(query, base, labels_q, labels_d, bits=bits) for base in (shards, codes))
    assert equal(got, want)


def test_histograms_by_hand(tmp_path):
    shards, query, codes, labels_q, labels_d = make(tmp_path / "s", ordered=False)
    distances = np.bitwise_count(query[:, None] ^ codes[None]).sum(axis=2)
    shared = labels_q.astype(int) @ labels_d.T.astype(int) > 0
    found = shards.histograms(query, labels_q, labels_d, threads=1)
    assert isinstance(found, Histograms)
    for q in range(len(query)):
        np.testing.assert_array_equal(found.counts[q], np.bincount(distances[q], minlength=BITS + 1))
        np.testing.assert_array_equal(found.relevant[q], np.bincount(distances[q][shared[q]], minlength=BITS + 1))


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8])
def test_labels_in_a_mapped_file(tmp_path, monkeypatch, dtype):
    """Read by parts: nobody asks the map for more rows than a window has."""
    monkeypatch.setattr(shard_histograms, "_ROWS", 50)
    shards, query, codes, labels_q, labels_d = make(tmp_path / "s", ordered=False)
    np.save(tmp_path / "labels.npy", labels_d.astype(dtype))
    mapped = np.load(tmp_path / "labels.npy", mmap_mode="r")
    seen = []
    real = shard_histograms.check_labels
    monkeypatch.setattr(
        shard_histograms, "check_labels", lambda part, *a, **k: (seen.append(len(part)), real(part, *a, **k))[1]
    )
    got = metrics.evaluate(query, shards, labels_q, mapped, bits=BITS)
    assert equal(got, metrics.evaluate(query, codes, labels_q, labels_d, bits=BITS))
    assert max(seen[1:]) <= 50
    assert sum(seen[1:]) == 500


def test_torch_queries_get_tensors(tmp_path):
    torch = pytest.importorskip("torch")
    shards, query, codes, labels_q, labels_d = make(tmp_path / "s")
    tensors = torch.from_numpy(query), shards, torch.from_numpy(labels_q), torch.from_numpy(labels_d)
    got = metrics.average_precision(*tensors, bits=BITS)
    assert torch.equal(got, torch.from_numpy(metrics.average_precision(query, codes, labels_q, labels_d, bits=BITS)))


class Counted:
    """Anything with ``histograms``, ``bits`` and a length will do."""

    def __init__(self, *parts):
        self.parts, self.bits = parts, BITS

    def __len__(self):
        return sum(len(codes) for codes in self.parts)

    def histograms(self, queries, query_labels, database_labels, *, threads=None):
        found, start = None, 0
        for codes in self.parts:
            labels = database_labels[start : start + len(codes)]
            part = metrics.histograms(queries, codes, query_labels, labels, bits=BITS, threads=threads)
            found, start = part if found is None else found + part, start + len(codes)
        return found


def test_any_database_that_counts(tmp_path):
    _, query, codes, labels_q, labels_d = make(tmp_path / "s")
    database = Counted(codes[:100], codes[100:111], codes[111:])
    assert equal(*(metrics.summary(query, base, labels_q, labels_d, bits=BITS) for base in (database, codes)))


def test_adding_histograms(tmp_path):
    _, query, codes, labels_q, labels_d = make(tmp_path / "s")
    parts = [
        metrics.histograms(query, codes[i], labels_q, labels_d[i], bits=BITS) for i in (slice(0, 3), slice(3, None))
    ]
    assert equal(parts[0] + parts[1], metrics.histograms(query, codes, labels_q, labels_d, bits=BITS))
    with pytest.raises(ValueError, match="^Histograms: both must be of the same queries and code length, got 9"):
        parts[0] + Histograms(parts[1].counts[:4], parts[1].relevant[:4])
    with pytest.raises(TypeError):
        parts[0] + 1


def test_what_needs_one_array_is_refused_at_once(tmp_path, monkeypatch):
    shards, query, _, labels_q, labels_d = make(tmp_path / "s")
    monkeypatch.setattr(type(shards), "histograms", lambda *_, **__: pytest.fail("counted before the refusal"))
    sets = query, shards, labels_q, labels_d
    stable = {"s": metrics.Measure("map_all", "stable")}
    for op, call in {
        "evaluate": lambda: metrics.evaluate(*sets, bits=BITS, ties="stable"),
        "average_precision": lambda: metrics.average_precision(*sets, bits=BITS, ties="stable"),
        "precision_at": lambda: metrics.precision_at(*sets, 5, bits=BITS, ties="stable"),
        "summary": lambda: metrics.summary(*sets, bits=BITS, ties=("stable",)),
        "summary ": lambda: metrics.summary(*sets, bits=BITS, measures=stable),
    }.items():
        with pytest.raises(ValueError, match=f'^{op.strip()}: ties must be other than "stable" .* got Shards'):
            call()
    for op, call in {
        "ndcg": lambda: metrics.ndcg(*sets, bits=BITS),
        "summary": lambda: metrics.summary(*sets, bits=BITS, graded=True),
    }.items():
        with pytest.raises(TypeError, match=f"^{op}: database must be one array for .* got Shards"):
            call()


def test_ndcg_by_layers(tmp_path):
    shards, query, codes, labels_q, labels_d = make(tmp_path / "s", ordered=False)
    layers = [labels_q[:, :9], labels_q], [labels_d[:, :9], labels_d]
    assert equal(*(metrics.ndcg(query, base, *layers, bits=BITS) for base in (shards, codes)))


def test_refusals_name_the_argument(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_histograms, "_ROWS", 50)
    shards, query, _, labels_q, labels_d = make(tmp_path / "s", form="float")
    bad = labels_d.copy()
    bad[333, 4] = 0.5
    for sets, bits, message in [
        ((query, shards, labels_q, labels_d), 16, "evaluate: database must have codes of 16 bits, got 24"),
        ((query[:, :2], shards, labels_q, labels_d), BITS, "evaluate: query must be"),
        ((query[:0], shards, labels_q[:0], labels_d), BITS, "evaluate: query and database must have at least one row"),
        ((query, shards, labels_q[:4], labels_d), BITS, "evaluate: query_labels must have 9 rows"),
        ((query, shards, labels_q, labels_d[:4]), BITS, "evaluate: database_labels must have 500 rows"),
        ((query, shards, labels_q, labels_d[:, :4]), BITS, "evaluate: query_labels and database_labels must be of one"),
        ((query, shards, labels_q, bad), BITS, ".*database_labels must be 0 or 1, got 0.5 in row 333 "),
    ]:
        with pytest.raises(ValueError, match=f"^{message}"):
            metrics.evaluate(*sets, bits=bits)
    for sets, message in [
        ((query[:0], labels_q[:0], labels_d), "queries and index must have at least one row, got 0 and 500"),
        ((query, labels_q, labels_d[:4]), "database_labels must have 500 rows like the index, got 4"),
        ((query, labels_q, labels_d[:, :4]), "query_labels and database_labels must be of one form"),
    ]:
        with pytest.raises(ValueError, match=f"^Shards.histograms: {message}"):
            shards.histograms(*sets)
