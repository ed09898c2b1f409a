"""Presets by paper on small rankings worked out by hand, and against the papers' scripts written down as loops.

Golden set A: 2 bits, database codes 00 10 01 11 11, a query 00 and a query 11.
    distances to 00:  0 1 1 2 2        distances to 11:  2 1 1 0 0
Labels of the database: x, y, x, x, y. Query 00 has x, query 11 has y, and a third query 00 has z, which no item has.

Query 00, x: items in the order of the database   + | - + | + -      R = 3
Query 11, y: by distance, database order within   - + | + - | -      R = 2
"""

import numpy as np
import pytest

from fasthash import metrics
from fasthash.codes import pack

DATABASE = pack(np.array([[-1, -1], [1, -1], [-1, 1], [1, 1], [1, 1]]))
DATABASE_LABELS = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0]])
QUERY = pack(np.array([[-1, -1], [1, 1], [-1, -1]]))
QUERY_LABELS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
GOLDEN = QUERY, DATABASE, QUERY_LABELS, DATABASE_LABELS

# Orders of query 00: + {- +} {+ -}. AP over all, R = 3, of the four equally likely orders:
#   + - + + -   (1 + 2/3 + 3/4) / 3 = 29/36        + - + - +   (1 + 2/3 + 3/5) / 3 = 34/45
#   + + - + -   (1 + 1 + 3/4) / 3 = 11/12          + + - - +   (1 + 1 + 3/5) / 3 = 13/15
# Orders of query 11: {- +} {+ -} -. R = 2:
#   - + + - -   (1/2 + 2/3) / 2 = 7/12             - + - + -   (1/2 + 2/4) / 2 = 1/2
#   + - + - -   (1 + 2/3) / 2 = 5/6                + - - + -   (1 + 2/4) / 2 = 3/4
FIRST_ALL, SECOND_ALL = (29 / 36 + 34 / 45 + 11 / 12 + 13 / 15) / 4, (7 / 12 + 1 / 2 + 5 / 6 + 3 / 4) / 4
# The stable order is the first of each. The third query finds nothing: 0, and it counts but where only hits do.
BY_HAND = {
    "dcmh": (29 / 36 + 7 / 12 + 0) / 3,
    "ssah": (FIRST_ALL + SECOND_ALL + 0) / 3,
    "djsrh": (FIRST_ALL + SECOND_ALL + 0) / 3,  # all five items are within the first 50
    "cdq": (FIRST_ALL + SECOND_ALL) / 2,  # both queries have hits, the third is left out
    "twdh": (FIRST_ALL + SECOND_ALL + 0) / 3,  # fewer than 5,000 relevant items: all of them
}


@pytest.mark.parametrize("paper", BY_HAND)
def test_golden_values(paper):
    got = metrics.evaluate(*GOLDEN, bits=2, **metrics.papers()[paper].options)
    assert got.value == pytest.approx(BY_HAND[paper], abs=1e-14)


# With the cut at 2 the definitions part. Stable: query 00 sees + -, query 11 sees - +, the third - -.
#   divided by hits        1/1          (1/2) / 1        0
#   divided by min(2, R)   1/2          (1/2) / 2        0
#   first 2 relevant       (1 + 2/3)/2  (1/2 + 2/3)/2    0
CUT = {
    "map_at_k": (1 + 1 / 2 + 0) / 3,
    "map_at_k_hitonly": (1 + 1 / 2) / 2,
    "map_at_k_minR": (1 / 2 + 1 / 4 + 0) / 3,
    "map_first_k_relevant": (5 / 6 + 7 / 12 + 0) / 3,
}


@pytest.mark.parametrize("protocol", CUT)
def test_a_cut_tells_the_definitions_apart(protocol):
    got = metrics.evaluate(*GOLDEN, bits=2, protocol=protocol, ties="stable", k=2)
    assert got.value == pytest.approx(CUT[protocol], abs=1e-15)


def test_discussed_examples():
    """[+, -, +] gets 5/6 and [+, -, -] gets 1 at k = 3 where the hits divide."""
    ladder = pack(np.where(np.arange(4) < np.arange(5)[:, None], 1, -1))  # distances 0 1 2 3 4 to the first
    for third, want in ((1, 5 / 6), (0, 1.0)):
        labels = np.array([1, 0, third, 1, 1])
        got = metrics.evaluate(ladder[:1], ladder, np.array([1]), labels, bits=4, protocol="map_at_k", k=3)
        assert got.value == pytest.approx(want)


# --- the scripts, as loops over queries, with a stable sort: every order that a script could return is one of those
# that "expected" is the mean of, and ties are absent from what follows


def matlab_dcmh(distance, relevant, _):
    """calcMapTopkMapTopkPreTopkRecLabel: queries without relevant items are passed over but divided by."""
    total = 0.0
    for d, r in zip(distance, relevant, strict=True):
        if r.sum() == 0:
            continue
        ranks = np.flatnonzero(r[np.argsort(d, kind="stable")]) + 1
        total += (np.arange(1, len(ranks) + 1) / ranks).mean()
    return total / len(distance)


def python_djsrh(distance, relevant, k):
    total = 0.0
    for d, r in zip(distance, relevant, strict=True):
        top = r[np.argsort(d, kind="stable")][:k]
        if top.sum() == 0:
            continue
        total += (np.arange(1, top.sum() + 1) / (np.flatnonzero(top) + 1)).mean()
    return total / len(distance)


def python_hashnet(distance, relevant, k):
    found = []
    for d, r in zip(distance, relevant, strict=True):
        top = r[np.argsort(d, kind="stable")][:k].astype(float)
        precision = np.cumsum(top) / np.arange(1, len(top) + 1)
        if top.sum():
            found.append((precision * top).sum() / top.sum())
    return np.mean(found)


def python_dchmt(distance, relevant, k):
    total = 0.0
    for d, r in zip(distance, relevant, strict=True):
        if r.sum() == 0:
            continue
        kept = min(k or len(r), int(r.sum()))
        ranks = np.flatnonzero(r[np.argsort(d, kind="stable")])[:kept] + 1
        total += (np.arange(1, kept + 1) / ranks).mean()
    return total / len(distance)


SCRIPTS = {
    "dcmh": matlab_dcmh, "ssah": matlab_dcmh, "hichnet": matlab_dcmh, "djsrh": python_djsrh, "cdq": python_hashnet,
    "hashnet": python_hashnet, "dchmt": python_dchmt, "dsph": python_dchmt, "dcgh": python_dchmt, "dnph": python_dchmt,
    "mith": python_dchmt, "twdh": python_dchmt, "udsph": matlab_dcmh,
}  # fmt: skip


@pytest.mark.parametrize("paper", metrics.papers())
@pytest.mark.parametrize("seed", range(3))
def test_scripts_where_no_items_tie(paper, seed):
    """All distances of a query differ, so that every sort gives the script's order; some queries have nothing."""
    rng = np.random.default_rng(seed)
    bits, measure = 300, metrics.papers()[paper].measure
    ladder = np.where(np.arange(bits) < rng.permutation(bits + 1)[:, None], 1, -1)
    query = np.ones((20, bits), int)
    query[:10] = -1
    labels_q, labels_d = rng.random((20, 12)) < 0.12, rng.random((bits + 1, 12)) < 0.05
    labels_q[3] = False
    distance = (query[:, None] != ladder).sum(-1)
    relevant = (labels_q[:, None] & labels_d).any(-1)
    got = metrics.evaluate(pack(query), pack(ladder), labels_q, labels_d, bits=bits, **metrics.papers()[paper].options)
    assert got.value == pytest.approx(SCRIPTS[paper](distance, relevant, measure.cut), abs=1e-12)


def test_stable_preset_equals_its_script_with_ties():
    rng = np.random.default_rng(9)
    signs = np.where(rng.random((260, 6)) < 0.5, 1, -1)
    labels = rng.random((260, 5)) < 0.2
    distance = (signs[:30, None] != signs[30:]).sum(-1)
    relevant = (labels[:30, None] & labels[30:]).any(-1)
    sets = pack(signs[:30]), pack(signs[30:]), labels[:30], labels[30:]
    got = metrics.evaluate(*sets, bits=6, **metrics.papers()["dcmh"].options)
    assert got.value == pytest.approx(matlab_dcmh(distance, relevant, None), abs=1e-13)
    mean = np.mean([matlab_dcmh(*shuffled(distance, relevant, rng), None) for _ in range(300)])
    assert metrics.evaluate(*sets, bits=6, **metrics.papers()["ssah"].options).value == pytest.approx(mean, abs=2e-3)


def shuffled(distance, relevant, rng):
    order = rng.permutation(distance.shape[1])
    return distance[:, order], relevant[:, order]


def test_papers_are_described():
    papers = metrics.papers()
    assert set(SCRIPTS) == set(papers)
    for name, paper in papers.items():
        assert paper.name == name
        assert paper.options == {
            "protocol": paper.measure.protocol, "ties": paper.measure.ties, "k": paper.measure.k,
            "no_relevant": paper.measure.no_relevant,
        }  # fmt: skip
        assert all((paper.title, paper.venue, paper.sort, paper.source))
        assert name in str(paper)
        assert str(paper.measure) in str(paper)
    with pytest.raises(TypeError):
        papers["mine"] = papers["djsrh"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "map"}, "Measure: protocol must be one of map_all"),
        ({"ties": "any"}, "Measure: ties must be one of expected, stable, optimistic, pessimistic, got 'any'"),
        ({"k": 5}, "Measure: map_all ranks the whole database and takes no k, got k=5"),
        ({"protocol": "map_at_k", "k": 0}, "Measure: k must be a whole number of at least 1, got 0"),
        ({"no_relevant": ""}, "Measure: no_relevant must be one of zero, skip, got ''"),
    ],
)
def test_measures_are_checked_when_made(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        metrics.Measure(**options)
