"""Standard splits at their real sizes: counts, who is never in whose part, released draws, errors that name counts."""

import os

import numpy as np
import pytest

from fasthash.data import load, protocols
from fasthash.data.gathered import Gathered
from fasthash.data.readers import read
from fasthash.data.splits import Split

ALL = protocols.protocols()
WIKI = Split(np.arange(2173, 2866), np.arange(2173), np.arange(2173))


def stand_in(one, pairs=None):
    """Pairs of the real number with random labels; each class has enough of them for the draws by class."""
    n = pairs or one.pairs or one.query + one.database + 1000
    random = np.random.default_rng(0)
    if one.dataset in ("fashion_vc", "ssense"):
        coarse, fine = {"fashion_vc": (8, 27), "ssense": (4, 28)}[one.dataset]
        kind = np.arange(n) % fine
        layers = {"coarse": [f"c{i % coarse}" for i in kind], "fine": [f"f{i:02d}" for i in kind]}
        return Gathered(name=one.dataset, text=np.zeros((n, 2), np.float32), layers=layers)
    labels = np.zeros((n, one.classes), np.uint8)
    labels[np.arange(n), random.integers(0, one.classes, n)] = 1
    labels[random.integers(0, n, n // 2), random.integers(0, one.classes, n // 2)] = 1
    splits = {"given": WIKI} if one.dataset == "wiki" else {}
    return Gathered(name=one.dataset, labels=labels, class_names=tuple(map(str, range(one.classes))), splits=splits)


@pytest.mark.parametrize("name", ALL)
def test_counts_at_the_real_size(name):
    one = ALL[name]
    data = stand_in(one)
    drawn = protocols.draw(name, data, seed=3)
    query, database, train = drawn.split.query, drawn.split.database, drawn.split.train
    assert (len(query), len(database), len(train)) == (one.query, one.database, one.train)
    for rows in (query, database, train):
        assert rows.dtype == np.int64
        assert len(np.unique(rows)) == len(rows)
        assert 0 <= rows.min() <= rows.max() < len(data)
    assert not np.isin(query, database).any()
    assert np.isin(train, database).all()
    if one.pairs is not None:
        assert one.pairs == one.query + one.database
    assert drawn.notes[0].startswith(f"split {name}: ")
    assert ("seed 3" in drawn.notes[0]) == (not one.official)


def test_table_of_the_papers():
    """Counts as the papers print them."""
    got = {name: (one.pairs, one.classes, one.query, one.train, one.database) for name, one in ALL.items()}
    assert got["dcmh-mirflickr25k"] == (20015, 24, 2000, 10000, 18015)
    assert got["dcmh-nus_wide"] == (195834, 21, 2100, 10500, 193734)
    assert got["djsrh-nus_wide"] == (186577, 10, 2000, 5000, 184577)
    assert got["cdq-nus_wide"] == (None, 21, 2000, 10500, 150300)
    assert got["hichnet-fashion_vc"] == (19862, 35, 3000, 16862, 16862)
    assert got["mith-nus_wide"] == (190421, 21, 2100, 10500, 188321)
    assert got["clip-coco"] == (122218, 80, 5000, 10000, 117218)
    assert ALL["clip-coco"].to_dict()["family"] == "clip"


@pytest.mark.parametrize(("name", "seed"), [("clip", 1814), ("dchmt", 1814), ("mith", 1)])
def test_released_permutations(name, seed):
    """The released code shuffles a range with NumPy's global generator: the same numbers, whatever the version."""
    one = ALL[f"{name}-mirflickr25k"]
    data = stand_in(one)
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    order = np.random.permutation(range(one.pairs))  # noqa: NPY002
    np.random.set_state(state)  # noqa: NPY002
    split = protocols.draw(name, data, seed=99).split
    assert (split.query == order[: one.query]).all()
    assert (split.train == order[one.query : one.query + one.train]).all()
    assert (split.database == order[one.query :]).all()


def test_released_permutation_is_pinned():
    query = protocols.draw("clip", stand_in(ALL["clip-mirflickr25k"])).split.query
    assert query[:5].tolist() == [21572, 1377, 336, 2853, 24194]
    query = protocols.draw("mith", stand_in(ALL["mith-mirflickr25k"])).split.query
    assert query[:5].tolist() == [11550, 16587, 6189, 5542, 4365]


def test_first_rows():
    split = protocols.draw("dcmh", stand_in(ALL["dcmh-mirflickr25k"])).split
    assert split.query.tolist() == list(range(2000))
    assert split.train.tolist() == list(range(2000, 12000))
    assert split.database.tolist() == list(range(2000, 20015))


def test_draw_by_label_takes_its_share_of_each_class():
    """The same as the released loop, written out with sets: nobody twice, so many of each class of those left."""
    one = ALL["djsrh-mirflickr25k"]
    data = stand_in(one)
    split = protocols.draw("djsrh", data, seed=5).split
    query, train = split.query.tolist(), split.train.tolist()
    taken = set()
    for column in range(24):
        n_query, n_train = (160, 400) if column == 0 else (80, 200)
        start, begin = (0, 0) if column == 0 else (160 + 80 * (column - 1), 400 + 200 * (column - 1))
        own_query, own_train = query[start : start + n_query], train[begin : begin + n_train]
        members = set(np.flatnonzero(data.labels[:, column]).tolist()) - taken
        assert members >= set(own_query) | set(own_train)
        taken |= set(own_query) | set(own_train)
    assert len(taken) == 2000 + 5000
    assert protocols.draw("djsrh", data, seed=6).split.query.tolist() != query
    assert protocols.draw("djsrh", data, seed=5).split.query.tolist() == query


def test_draw_by_label_is_topped_up():
    one = ALL["djsrh-mirflickr25k"]
    data = stand_in(one)
    data.labels[:, 23] = 0
    data.labels[:150, 23] = 1  # 80 queries, and no 200 training pairs more
    split = protocols.draw("djsrh", data).split
    assert (len(split.query), len(split.train)) == (2000, 5000)
    data.labels[:, 23] = 0
    with pytest.raises(
        ValueError, match=r"djsrh-mirflickr25k: labels of .*: expected 2000 queries, found rows for 1920"
    ):
        protocols.draw("djsrh", data)


def test_ids_decide_hashed_draws_not_rows():
    ids = [f"im{i}" for i in range(300)]
    text = np.zeros((300, 2), np.float32)
    one_way = protocols.draw_split(Gathered(name="a", ids=ids, text=text), query=40, train=50)
    other_way = protocols.draw_split(Gathered(name="b", ids=ids[::-1], text=text), query=40, train=50)
    assert {ids[i] for i in one_way.query} == {ids[::-1][i] for i in other_way.query}
    assert {ids[i] for i in one_way.train} == {ids[::-1][i] for i in other_way.train}


def test_numbers_that_differ_are_named():
    one = ALL["dcmh-mirflickr25k"]
    labels = np.zeros((19999, 38), np.uint8)
    data = Gathered(name="mirflickr25k", labels=labels, class_names=tuple(map(str, range(38))))
    line = (
        "dcmh-mirflickr25k: mirflickr25k: labels: expected 20015 pairs, found 19999; "
        "labels: expected 24 classes, found 38"
    )
    for name in ("dcmh", one.name):
        with pytest.raises(ValueError) as error:
            protocols.draw(name, data)
        assert str(error.value) == line
    bare = Gathered(name="mirflickr25k", text=np.zeros((20015, 3), np.float32))
    with pytest.raises(ValueError, match="labels: expected 24 classes, found no labels"):
        protocols.draw("dcmh", bare)
    tree = stand_in(ALL["hichnet-ssense"], 15696)
    tree.layers["fine"][:] = ["f"] * 15696
    with pytest.raises(ValueError, match=r"expected 32 classes, found 5 in layers coarse \(4\), fine \(1\)"):
        protocols.draw("hichnet", tree)
    short = stand_in(ALL["cdq-nus_wide"], 150000)
    with pytest.raises(ValueError, match="labels: expected at least 152300 pairs, found 150000"):
        protocols.draw("cdq", short)


def test_a_family_finds_its_data_set():
    twin = stand_in(ALL["clip-nus_wide"], 195835)  # one list of unlabelled pairs is one shorter
    split = protocols.draw("clip", twin).split
    assert (len(split.query), len(split.database)) == (5000, 190835)
    named = stand_in(ALL["mith-coco"])
    mine = Gathered(name="mine", labels=named.labels, class_names=named.class_names)
    assert protocols.find("mith", mine).name == "mith-coco"
    with pytest.raises(
        ValueError, match=r"protocols: hichnet is for fashion_vc \(19862 pairs\), ssense .* got mine of"
    ):
        protocols.draw("hichnet", mine)
    with pytest.raises(ValueError, match=r"protocols: split must be one of dcmh, ssah, .* got 'other'"):
        protocols.draw("other", mine)


def test_wiki_is_the_split_of_its_files():
    data = stand_in(ALL["djsrh-wiki"])
    assert protocols.draw("djsrh", data).split is WIKI
    bare = Gathered(name="wiki", labels=data.labels, class_names=data.class_names)
    with pytest.raises(
        ValueError, match="djsrh-wiki: splits of wiki: expected the split .* of 693 queries, found none"
    ):
        protocols.draw("djsrh", bare)


def test_real_wiki():

    root = os.environ.get("FASTHASH_DATA")
    if not root:
        pytest.skip("FASTHASH_DATA is not set")
    split, own = protocols.draw("djsrh", read("wiki", f"{root}/wiki")).split, load("wiki").split
    for part in ("query", "database", "train"):
        assert (getattr(split, part) == getattr(own, part)).all()


def test_a_split_of_your_own():
    data = Gathered(name="mine", ids=[f"p{i}" for i in range(50)], text=np.zeros((50, 2), np.float32))
    split = protocols.draw_split(data, query=10, train=15, seed=4)
    assert (len(split.query), len(split.database), len(split.train)) == (10, 40, 15)
    assert sorted([*split.query, *split.database]) == list(range(50))
    assert np.isin(split.train, split.database).all()
    assert (protocols.draw_split(data, query=10, seed=4).train == split.database).all()
    assert (protocols.draw_split(data, query=10, seed=5).query != split.query).any()
    bare = Gathered(name="mine", text=data.text)
    assert len(protocols.draw_split(bare, query=49).database) == 1
    for wrong in ({"query": 0}, {"query": 50}, {"query": 10, "train": 41}, {"query": 10, "train": 0}):
        with pytest.raises(ValueError, match="protocols: .* must be from 1 to "):
            protocols.draw_split(data, **wrong)


def test_widths_of_other_features_are_a_note():
    one = ALL["dcmh-mirflickr25k"]
    data = stand_in(one)
    text = np.zeros((20015, 7), np.uint8)
    wide = Gathered(name=data.name, labels=data.labels, class_names=data.class_names, text=text)
    assert "text features are 7 wide, the papers' 1386" in protocols.draw("dcmh", wide).notes
