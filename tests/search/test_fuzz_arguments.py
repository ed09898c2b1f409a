"""Any arguments at all: the result of brute force, or one line. Searches, and an index against a dict of id: code."""

import hamming_truth as truth
import numpy as np
import torch
from fuzz import WAYS, budget, going, outcome
from hypothesis import given
from hypothesis import strategies as st

from fasthash.codes import unpack
from fasthash.search import BinaryIndex, knn, merge_topk, range_search, rescore

NOT_ARRAYS = [None, 3, 2.5, "codes", b"codes", [[1, 2]], object(), np.ma.masked_array(np.zeros((2, 2), np.uint8), True)]
NOT_NUMBERS = [None, 2.0, "3", True, np.bool_(True), np.float32(1), np.array([3]), 1 + 2j, float("nan"), [1]]
FAR = [0, -1, -(2**70), 2**31, 2**32 + 1, 2**63, 2**64, 2**200]
DTYPES = ["int8", "uint16", "int64", "float32", "bool", "complex64", "object", "S1", "M8[s]", "V1"]
FITTING = {  # a matrix of bytes as something else with the same values; searched, or refused where it says so
    "as it is": lambda x: x,
    "read-only": lambda x: np.frombuffer(x.tobytes(), np.uint8).reshape(x.shape),
    "unaligned": lambda x: np.frombuffer(b"xyz" + x.tobytes(), np.uint8)[3:].reshape(x.shape),
    "tensor": lambda x: torch.from_numpy(x.copy()),
}
GAPPED = {
    "by columns": lambda x: np.asfortranarray(x),
    "backwards": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "every other row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "part of wider rows": lambda x: np.pad(x, ((0, 0), (2, 1)), constant_values=255)[:, 2:-1],
    "one row over and over": lambda x: np.broadcast_to(x[:1], x.shape),
    "tensor by columns": lambda x: torch.from_numpy(np.ascontiguousarray(x.T)).T,
}


@st.composite
def codes(draw, n, bits, few=False):
    """Packed codes, random, all alike, or a few values only."""
    seed, kind = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from(["random", "alike", "clustered"]))
    rng = np.random.default_rng(seed)
    rows = np.packbits(rng.random((n, bits)) < 0.5, axis=1)
    if kind != "random" and n:
        rows = rows[rng.integers(0, 1 if kind == "alike" else max(1, n // 4), n)]
    return np.ascontiguousarray(rows)


@st.composite
def spoiled(draw, array):
    """Something that is not what was asked for."""
    kind = draw(st.sampled_from(["none", "dtype", "shape", "wider", "narrower", "rows", "padding", "tensor"]))
    if kind == "none" or not isinstance(array, np.ndarray):
        return draw(st.sampled_from(NOT_ARRAYS))
    if kind == "dtype":
        return array.astype(draw(st.sampled_from([name for name in DTYPES if name != "M8[s]"])), copy=True)
    if kind == "shape":
        return array.reshape(draw(st.sampled_from([(-1,), (1, *array.shape), (*array.shape, 1)])))
    if kind == "wider" and array.ndim == 2:
        return np.pad(array, ((0, 0), (0, draw(st.integers(1, 600)))))
    if kind == "narrower" and array.ndim == 2:
        return np.ascontiguousarray(array[:, : draw(st.integers(0, max(0, array.shape[1] - 1)))])
    if kind == "rows":
        return array[: draw(st.integers(0, max(0, len(array) - 1)))]
    if kind == "padding" and array.ndim == 2:
        return array | np.uint8(1)
    return torch.from_numpy(array.astype(np.float32)).to(draw(st.sampled_from([torch.bfloat16, torch.float64])))


def as_numpy(x):
    return x.numpy() if isinstance(x, torch.Tensor) else np.asarray(x)


@st.composite
def searches(draw):
    """The arguments of a search, which of them are spoiled, and what must come out when none is."""
    bits = draw(st.integers(1, 130) | st.sampled_from([256, 512, 1000, 4096]))
    nq, nb = draw(st.integers(1, 20)), draw(st.integers(1, 70) | st.sampled_from([255, 256, 257, 1025]))
    queries, database = draw(codes(nq, bits)), draw(codes(nb, bits))
    bad = draw(st.sets(st.sampled_from(["queries", "database", "bits", "allow", "threads", "number"]), max_size=2))
    bad &= draw(st.sampled_from([set(), {"queries", "database", "bits", "allow", "threads", "number"}]))
    shown = FITTING[draw(st.sampled_from(sorted(FITTING)))](database)
    if draw(st.integers(0, 7)) == 0:
        shown = GAPPED[draw(st.sampled_from(sorted(GAPPED)))](database)
    asked = (FITTING | GAPPED)[draw(st.sampled_from(sorted(FITTING | GAPPED)))](queries)
    allow = draw(st.sampled_from(["none", "bool", "packed"]))
    kept = np.random.default_rng(draw(st.integers(0, 99))).random(nb) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    mask = {"none": None, "bool": kept, "packed": np.packbits(kept)}[allow]
    number = draw(st.integers(1, 30) | st.sampled_from([nb, nb + 1, 1000]))
    arguments = {
        "queries": draw(spoiled(queries)) if "queries" in bad else asked,
        "database": draw(spoiled(database)) if "database" in bad else shown,
        "bits": draw(st.sampled_from([*NOT_NUMBERS[1:], *FAR, bits + 8])) if "bits" in bad else bits,
        "allow": draw(spoiled(kept)) if "allow" in bad else mask,
        "threads": draw(st.sampled_from([*NOT_NUMBERS[1:], *FAR])) if "threads" in bad else draw(
            st.sampled_from([None, 1, 2, 5, np.int8(3)])),
        "number": draw(st.sampled_from([*NOT_NUMBERS, *FAR])) if "number" in bad else number,
    }  # fmt: skip
    return arguments, bad, (as_numpy(asked), as_numpy(shown), None if mask is None else kept)


def gapped(x):
    return not (x.is_contiguous() if isinstance(x, torch.Tensor) else x.flags.c_contiguous)


@budget(150)
@given(drawn=searches(), way=st.sampled_from(WAYS))
def test_knn(drawn, way):
    arguments, bad, (queries, database, kept) = drawn
    rest = {name: arguments[name] for name in ("bits", "allow", "threads")}
    with going(way):
        got = outcome(lambda: knn(arguments["queries"], arguments["database"], arguments["number"], **rest), ["knn"])
    if not bad:
        assert (got is None) == gapped(arguments["database"])
        if got is not None:
            truth.assert_same(got, truth.topk(queries, database, arguments["number"], kept))


@budget(150)
@given(drawn=searches(), way=st.sampled_from(WAYS))
def test_range_search(drawn, way):
    arguments, bad, (queries, database, kept) = drawn
    rest = {name: arguments[name] for name in ("bits", "allow", "threads")}
    radius = arguments["number"]
    with going(way):
        got = outcome(lambda: range_search(arguments["queries"], arguments["database"], radius, **rest),
                      ["range_search"])  # fmt: skip
    if not bad:
        assert (got is None) == gapped(arguments["database"])
        if got is not None:
            truth.assert_same(got, truth.within(queries, database, radius, kept))


@budget(60)
@given(data=st.data())
def test_merge_and_rescore(data):
    """Of the two only the refusals and the shapes: what they return is compared elsewhere."""
    bits, hits, k = data.draw(st.integers(1, 40)), data.draw(st.integers(0, 9)), data.draw(st.integers(1, 12))
    base, rng = data.draw(codes(30, bits)), np.random.default_rng(data.draw(st.integers(0, 99)))
    distances, ids = rng.integers(0, bits, (4, hits)).astype(np.int32), rng.integers(-1, 30, (4, hits))
    features = rng.standard_normal((4, bits))
    wrong = st.sampled_from(NOT_ARRAYS) | spoiled(ids)
    k = data.draw(st.just(k) | st.sampled_from([*NOT_NUMBERS, 0, -1, 2**40]))
    part = data.draw(st.sampled_from([(distances, ids), (distances,), (ids, distances)]) | st.tuples(wrong, wrong))
    parts = data.draw(st.sampled_from([[part], [part, part], part, [], None, iter([part])]))
    merged = outcome(lambda: merge_topk(parts, k), ["merge_topk"])
    assert merged is None or merged[0].shape == merged[1].shape == (4, k)
    asked = [data.draw(st.just(value) | wrong) for value in (features, base, ids)]
    scored = outcome(lambda: rescore(*asked, k, bits=bits), ["rescore"])
    assert scored is None or len(scored[0]) in (0, 4)


@st.composite
def some_ids(draw, known):
    """Ids there, ids not there, and what is no ids at all."""
    few = st.lists(st.integers(0, 30) | st.sampled_from(sorted(known) or [0]), max_size=6)
    ids = np.array(draw(few), np.int64)
    kind = draw(st.sampled_from(["int64"] * 6 + ["uint64", "int8", "torch", "spoiled", "far", "negative"]))
    if kind in ("uint64", "int8"):
        return ids.astype(kind)
    if kind == "torch":
        return torch.from_numpy(ids)
    if kind == "spoiled":
        return draw(spoiled(ids))
    if kind in ("far", "negative") and len(ids):
        ids = ids.astype(np.uint64) + np.uint64(2**63) if kind == "far" else ids - 40
    return ids


@budget(60)
@given(data=st.data())
def test_index(data):
    """Every change is made whole, as a dict would take it, or refused and nothing has changed."""
    bits = data.draw(st.sampled_from([3, 8, 13, 64]))
    index, model = BinaryIndex(bits), {}
    for _ in range(data.draw(st.integers(1, 8))):
        step = data.draw(st.sampled_from(["add", "add", "append", "update", "remove", "search", "batches"]))
        ids = data.draw(some_ids(model))
        count = len(ids) if isinstance(ids, (np.ndarray, torch.Tensor)) and ids.ndim else 1
        packed = data.draw(codes(count, bits))
        packed = data.draw(st.just(packed) | st.just(packed) | st.just(packed) | spoiled(packed))
        call = {
            "add": lambda ids=ids, packed=packed: index.add(packed, ids),
            "append": lambda packed=packed: index.add(packed),
            "update": lambda ids=ids, packed=packed: index.update(ids, packed),
            "remove": lambda ids=ids: index.remove(ids),
            "search": lambda packed=packed, ids=ids: index.search(packed, 4, allow=ids),
            "batches": lambda ids=ids: list(index.batches(ids)),
        }[step]
        name = "add" if step == "append" else step
        done = outcome(lambda call=call: (call(),), [f"BinaryIndex.{name}"])
        if done is not None and step in ("add", "append", "update", "remove"):
            take(model, name, None if step == "append" or ids is None else as_numpy(ids).tolist(), packed)
        assert index.ids.tolist() == sorted(model)
        assert index.codes.tolist() == [model[i] for i in sorted(model)]


def take(model, step, ids, packed):
    """The change an index made, made to the dict; it must have been one that can be made."""
    if ids is None:  # add without ids
        ids = range(max(model, default=-1) + 1, max(model, default=-1) + 1 + len(packed))
    if step == "remove":
        assert set(ids) <= set(model)
        for i in ids:
            model.pop(i, None)
        return
    assert len(set(ids)) == len(ids) == len(packed)
    assert set(ids) <= set(model) if step == "update" else not set(ids) & set(model)
    model.update(zip(ids, as_numpy(packed).tolist(), strict=True))


@budget(60)
@given(data=st.data())
def test_from_codes(data):
    """An index over somebody's array, or one line."""
    bits = data.draw(st.sampled_from([3, 8, 13, 64, 4096]))
    rows = data.draw(codes(data.draw(st.integers(0, 20)), bits))
    given_ids = data.draw(st.none() | st.just(np.arange(len(rows)) * 3) | some_ids(set()))
    array = data.draw(st.sampled_from(sorted(FITTING | GAPPED)).map((FITTING | GAPPED).get)) if len(rows) else None
    shown = data.draw((st.just(rows) if array is None else st.just(array(rows))) | spoiled(rows))
    length = data.draw(st.just(bits) | st.none() | st.sampled_from([*NOT_NUMBERS, *FAR]))
    index = outcome(lambda: BinaryIndex.from_codes(shown, length, given_ids), ["BinaryIndex.from_codes"])
    if index is not None and len(index):
        np.testing.assert_array_equal(index.codes, as_numpy(shown))
        distances, ids = index.search(index.codes[:2], len(index))
        order = np.searchsorted(index.ids, ids)
        found = unpack(np.ascontiguousarray(index.codes), index.bits)
        np.testing.assert_array_equal(distances, (found[:2, None] != found[order]).sum(axis=2))
