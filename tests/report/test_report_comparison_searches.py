"""The same queries put to several codes: what each finds is what lies nearest, and where they differ is shown."""

from dataclasses import replace

import numpy as np
import pytest

from fasthash import data as datasets
from fasthash import evaluation
from fasthash.metrics import average_precision
from fasthash.report.comparison_searches import CASES, HITS, METHODS, comparison_searches
from fasthash.report.content import DIRECTIONS
from fasthash.report.pictures import SMALL_SIDE, Pictures

BITS = 16
KINDS = {"image": "i2t", "text": "t2i"}
GROUPS = ["Drawn at random", "Methods differ most"]


@pytest.fixture(scope="module")
def codes(shown):
    """Codes that know nothing, and two that know some of the classes."""
    found = {"random": evaluation.random_codes(shown, BITS, 9)}
    rows = {"query": shown.split.query, "database": shown.split.database}
    labels = {side: shown.labels[own].argmax(axis=1) for side, own in rows.items()}
    for name, seed in (("one", 0), ("two", 1)):
        noise = evaluation.random_codes(shown, BITS, seed)
        table = np.random.default_rng(seed).integers(0, 256, (shown.labels.shape[1], BITS // 8), dtype=np.uint8)
        sides = {}
        for side, own in labels.items():
            known = (own % 2 == seed)[:, None]
            for kind in KINDS:
                sides[f"{side}_{kind}"] = np.where(known, table[own], getattr(noise, f"{side}_{kind}"))
        found[name] = evaluation.Codes(BITS, **sides)
    return found


@pytest.fixture(scope="module")
def found(codes, shown):
    return comparison_searches(codes, shown, references=["random"], seed=3)


def place_of(query, shown):
    """The query's place among the queries, by the start of its text."""
    (place,) = [
        k for k, row in enumerate(shown.split.query) if shown.texts[row].startswith(query.text[:14].rstrip("… "))
    ]
    return place


def test_every_method_answers_the_same_queries_with_what_is_nearest(found, codes, shown):
    asked = {}
    for query in found.queries:
        asked.setdefault((query.kind, query.group, query.text), []).append(query.method)
        place, direction = place_of(query, shown), KINDS[query.kind]
        ask, items = (np.unpackbits(side, axis=1) for side in codes[query.method].pair(direction))
        distance = np.sort((ask[place] != items).sum(axis=1))
        assert [hit.distance for hit in query.hits] == distance[:HITS].tolist()
        assert all((hit.picture is not None) == (query.kind == "text") for hit in query.hits)
        assert query.bits == BITS
    assert set(map(tuple, asked.values())) == {("random", "one", "two")}
    counts = [(kind, group) for kind, group, _ in asked]
    assert counts == [(kind, group) for kind in KINDS for group in GROUPS for _ in range(CASES)]
    assert "its first 8 items at 16 bits" in found.about
    assert "drawn with seed 3" in found.about


@pytest.mark.parametrize("direction", list(DIRECTIONS))
def test_where_methods_differ_references_do_not_count(found, codes, shown, direction):
    labels = shown.labels[shown.split.query], shown.labels[shown.split.database]
    aps = {name: average_precision(*own.pair(direction), *labels, bits=BITS) for name, own in codes.items()}
    spread = abs(aps["one"] - aps["two"])
    (first, *_) = [
        q for q in found.queries if KINDS[q.kind] == direction and q.group == GROUPS[1] and q.method == "one"
    ]
    place = place_of(first, shown)
    assert spread[place] == pytest.approx(spread.max())
    assert first.note.startswith(f"Average precision {aps['one'][place]:.3f};")


def bytes_of(queries):
    pictures = Pictures(SMALL_SIDE)
    every = {one for query in queries for one in (query.picture, *(hit.picture for hit in query.hits))} - {None}
    return sum(len(pictures.add(one).uri) for one in every)


def test_pictures_keep_within_their_room(found, codes, shown):
    whole = bytes_of(found.queries)
    cut = comparison_searches(codes, shown, seed=3, room=whole // 2)
    lengths = {len(query.hits) for query in cut.queries}
    assert len(lengths) == 1
    assert 1 <= lengths.pop() < HITS
    assert bytes_of(cut.queries) <= whole // 2
    least = comparison_searches(codes, shown, seed=3, room=0)
    assert {len(query.hits) for query in least.queries} == {1}
    assert "its first item at" in least.about


def test_not_all_of_many_methods_are_shown(codes, shown):
    many = {f"method {k}": codes["one"] for k in range(METHODS + 2)}
    found = comparison_searches(many, shown)
    assert len({query.method for query in found.queries}) == METHODS
    assert f"the first {METHODS} of {METHODS + 2} methods" in found.about
    assert {query.group for query in found.queries} == {GROUPS[0]}, "the same codes differ nowhere"


def test_without_pictures_and_texts_ids_are_shown(codes):
    plain = datasets.load("synthetic", pairs=160)
    found = comparison_searches(codes, plain)
    assert "There are no pictures here, so ids are shown." in found.about
    assert {hit.text for query in found.queries for hit in query.hits} <= set(plain.ids)
    assert not any(one.picture for query in found.queries for one in [query, *query.hits])


def test_an_empty_text_is_told_by_its_id(codes, shown):
    found = comparison_searches(codes, replace(shown, texts=("",) * len(shown)))
    assert {query.text for query in found.queries} <= set(shown.ids)
