"""Tokens, bags of words and word vectors against hand-computed values, scikit-learn and the packaged files."""

import json
import subprocess
import sys
from importlib import util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthash.features import BagOfWords, WordVectors, from_config, tokenize

TEXTS = [
    "Red heart", "red red ROSE, white rose!", "Women's T-Shirt No. 2", "", "a heart-shaped box", "Über-café",
]  # fmt: skip


def test_tokenize_by_hand():
    assert tokenize("Women's T-Shirt №2, 3.5kg\n«café» x_y") == [
        "women", "s", "t", "shirt", "no2", "3", "5kg", "café", "x", "y",
    ]  # fmt: skip
    assert tokenize("cafe\u0301") == tokenize("CAFÉ") == ["café"]  # composed and decomposed are one word
    assert tokenize("हिन्दी") == ["हिन्दी"]  # vowel signs are marks, not gaps
    assert tokenize("soft\u00adhyphen \u2764\ufe0f") == ["softhyphen"]  # invisible characters and symbols leave nothing
    assert tokenize(" ... ") == []


def test_binary_by_hand():
    bag = BagOfWords.fit(["red heart", "red red rose"], weighting="binary", norm=None)
    assert bag.words == ("heart", "red", "rose")
    assert bag.encode(["rose rose red", "blue", "heart"]).tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]


def test_tfidf_by_hand():
    bag = BagOfWords.fit(["red heart", "red red rose"])
    rare = np.log(3 / 2) + 1  # in one of two texts; "red", in both, weighs ln(3 / 3) + 1 = 1
    row = np.array([0, 2 * 1.0, rare]) / np.hypot(2, rare)
    np.testing.assert_allclose(bag.encode(["red rose red"])[0], row, rtol=1e-6)


def test_fit_keeps_words_by_count_then_name():
    texts = ["b a", "b c", "b d", "c d"]
    assert BagOfWords.fit(texts, min_count=2).words == ("b", "c", "d")
    assert BagOfWords.fit(texts, max_words=2).words == ("b", "c")  # c and d are in two texts each: the first by name
    assert BagOfWords.fit(texts, max_words=9).words == ("a", "b", "c", "d")


@pytest.mark.parametrize("weighting", ["binary", "count"])
def test_agrees_with_count_vectorizer(weighting):
    text = pytest.importorskip("sklearn.feature_extraction.text")
    peer = text.CountVectorizer(tokenizer=tokenize, token_pattern=None, lowercase=False, binary=weighting == "binary")
    want = peer.fit_transform(TEXTS).toarray()
    bag = BagOfWords.fit(TEXTS, weighting=weighting, norm=None)
    assert list(bag.words) == list(peer.get_feature_names_out())
    np.testing.assert_array_equal(bag.encode(TEXTS), want)


@pytest.mark.parametrize("norm", ["l2", None])
def test_agrees_with_tfidf_vectorizer(norm):
    text = pytest.importorskip("sklearn.feature_extraction.text")
    peer = text.TfidfVectorizer(tokenizer=tokenize, token_pattern=None, lowercase=False, norm=norm)
    want = peer.fit(TEXTS[:4]).transform(TEXTS).toarray()  # the last two texts have words that were never seen
    got = BagOfWords.fit(TEXTS[:4], norm=norm).encode(TEXTS)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)  # float32 against float64


@given(st.lists(st.text(alphabet="abc é-1", max_size=12), min_size=1), st.randoms(use_true_random=False))
def test_order_of_texts_changes_nothing(texts, random):
    texts = [*texts, "a word"]
    shuffled = list(texts)
    random.shuffle(shuffled)
    one, other = BagOfWords.fit(texts), BagOfWords.fit(shuffled)
    assert one.words == other.words
    np.testing.assert_array_equal(one.encode(texts), other.encode(texts))
    norms = np.linalg.norm(one.encode(texts).astype(np.float64), axis=1)
    known = [bool(tokenize(text)) for text in texts]
    np.testing.assert_allclose(norms, known, atol=1e-6)  # length 1, or a row of zeros where there is no word


@pytest.mark.parametrize("settings", [{}, {"weighting": "binary", "norm": None}], ids=str)
def test_bag_survives_json(settings):
    bag = BagOfWords.fit(TEXTS, min_count=1, **settings)
    again = from_config(json.loads(json.dumps(bag.config())), {k: v.copy() for k, v in bag.tensors().items()})
    assert again.width == bag.width
    np.testing.assert_array_equal(again.encode(TEXTS), bag.encode(TEXTS))


@pytest.mark.parametrize(
    ("call", "error", "line"),
    [
        (lambda: BagOfWords.fit(["", "!"]), ValueError, "no word occurs in at least 1 of the 2 texts"),
        (lambda: BagOfWords.fit(TEXTS, weighting="bm25"), ValueError, "weighting must be one of .*, got 'bm25'"),
        (lambda: BagOfWords.fit(TEXTS, norm="l1"), ValueError, "norm must be 'l2' or None, got 'l1'"),
        (lambda: BagOfWords.fit(TEXTS, min_count=0), ValueError, "min_count must be a whole number from 1, got 0"),
        (
            lambda: BagOfWords.fit(TEXTS, max_words=True),
            ValueError,
            "max_words must be a whole number from 1, got True",
        ),
        (lambda: BagOfWords.fit("a text"), TypeError, "items must be a list of texts, got str"),
        (lambda: BagOfWords.fit([1]), TypeError, "item 0 must be a text, got int"),
        (lambda: BagOfWords.fit(TEXTS).encode("red"), TypeError, "items must be a list of texts, got str"),
        (lambda: BagOfWords.fit(TEXTS).encode(["red", None]), TypeError, "item 1 must be a text, got NoneType"),
        (lambda: BagOfWords(["a", "a"], weighting="binary"), ValueError, "words must be distinct"),
        (lambda: BagOfWords(["a"]), ValueError, "idf must be given with weighting 'tfidf', and only then"),
        (lambda: BagOfWords(["a"], idf=np.ones(2)), ValueError, r"idf must be \[1\], got shape \(2,\)"),
        (lambda: from_config({"kind": "bag_of_words"}), ValueError, "config must have 'words'"),
    ],
)
def test_bag_refuses(call, error, line):
    with pytest.raises(error, match=line):
        call()


needs_vectors = pytest.mark.skipif(util.find_spec("wordllama") is None, reason="the package wordllama is not installed")


@needs_vectors
def test_word_vectors_are_means_of_the_packaged_rows():
    from safetensors import safe_open
    from tokenizers import Tokenizer

    root = Path(util.find_spec("wordllama").submodule_search_locations[0])
    with safe_open(root / "weights" / "l2_supercat_256.safetensors", "np") as file:
        table = file.get_tensor("embedding.weight").astype(np.float64)
    tokenizer = Tokenizer.from_file(str(root / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    texts = ["red heart", "A much longer text, about nothing.", "x"]
    got = WordVectors().encode([*texts, "", "  "])
    for row, encoding in zip(got, tokenizer.encode_batch(texts, add_special_tokens=False), strict=False):
        want = table[encoding.ids].sum(axis=0)
        np.testing.assert_allclose(row, want / np.linalg.norm(want), atol=1e-6)
    assert not got[3:].any()
    assert got.dtype == np.float32


@needs_vectors
def test_word_vectors_find_near_words():
    cat, kitten, tax = WordVectors().encode(["cat", "kitten", "tax law"])
    assert cat @ kitten > cat @ tax + 0.2


@needs_vectors
def test_word_vectors_round_trip_and_refuse_other_weights():
    config = json.loads(json.dumps(WordVectors().config()))
    np.testing.assert_array_equal(from_config(config, {}).encode(["a b"]), WordVectors().encode(["a b"]))
    with pytest.raises(ValueError, match="made with vectors 0000"):
        from_config(config | {"sha256": "0" * 64}, {})


@needs_vectors
def test_word_vectors_do_not_import_the_package():
    code = "import sys; from fasthash.features import WordVectors; WordVectors().encode(['a']);"
    code += "print([m for m in ('wordllama', 'torch', 'requests') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
