"""The recall that `embedding_codes` counts, against every order of ties, and its page."""

import itertools

import embedding_codes
import embedding_page
import numpy as np
import pytest

from fasthash.codes import pack, unpack

pytest.importorskip("torch")


def test_ties_count_in_expectation(monkeypatch):
    monkeypatch.setattr(embedding_codes, "K", 3)
    rng = np.random.default_rng(0)
    query, database = (pack(rng.random((n, 4)) < 0.5) for n in (5, 7))
    truth = np.array([rng.choice(7, 3, replace=False) for _ in range(5)])
    shares = []
    for code, near in zip(unpack(query, 4), truth, strict=True):
        distances = (unpack(database, 4) != code).sum(axis=1)
        orders = [o for o in itertools.permutations(range(7)) if (np.diff(distances[list(o)]) >= 0).all()]
        shares.append(np.mean([len(set(o[:3]) & set(near)) / 3 for o in orders]))
    assert embedding_codes.expected_recall(query, database, truth, 4) == pytest.approx(np.mean(shares), rel=1e-12)


def test_recall_counts_true_neighbours():
    found, truth = np.array([[1, 2, 3], [7, 8, 9]]), np.array([[3, 4], [9, 7]])
    assert embedding_codes.recall(found, truth) == 0.75


def test_page_has_a_line_for_each_row_and_marks_the_best():
    measured = {key: {"i2i": [0.2, 0.4], "t2t": [0.1, 0.1]} for key in ("hamming", "rescored", "reranked", "map")}
    rows = [{"data": "films", "method": name, "bits": 64} | measured for name in ("a", "b")]
    rows[1] = rows[1] | {"hamming": {"i2i": [0.5, 0.7]}}
    one = {
        "data": "films",
        "sizes": {"query": 9, "database": 1000, "train": 900},
        "widths": {"image": 1280},
        "map": dict.fromkeys(("i2i", "t2t", "i2t", "t2i"), 0.5),
    }
    text = embedding_page.page([one], rows, ["- machine: one"])
    assert "| 64 | 8 | a | 0.300 ± 0.141 | **0.100 ± 0.000** | – | – |" in text
    assert "| 64 | 8 | b | **0.600 ± 0.141** | – | – | – |" in text
    assert "image 5,120 bytes" in text
    assert "- machine: one" in text
