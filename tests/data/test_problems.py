"""What is wrong with gathered data: counted, named, and refused, skipped or kept as asked."""

import io
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasthash.data import Split, problems
from fasthash.data.gathered import Gathered
from fasthash.features import Picture

Image = pytest.importorskip("PIL.Image")


def jpeg(value, size=24):
    noise = np.random.default_rng(value).integers(0, 256, (size, size, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Files, zip and tar members, with one of each kind missing or cut off; row 7 is a copy of row 0."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "0.jpg").write_bytes(jpeg(0))
    (folder / "1.jpg").write_bytes(jpeg(1)[:-300])
    with zipfile.ZipFile(folder / "some.zip", "w") as archive:
        archive.writestr("2.jpg", jpeg(2))
    with tarfile.open(folder / "some.tar", "w") as archive:
        for name, data in (("4.jpg", jpeg(4)), ("5.jpg", b"no picture")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    (folder / "7.jpg").write_bytes(jpeg(0))
    return [
        Picture(folder / "0.jpg"), Picture(folder / "1.jpg"), Picture(folder / "some.zip", "2.jpg"),
        Picture(folder / "some.zip", "3.jpg"), Picture(folder / "some.tar", "4.jpg"),
        Picture(folder / "some.tar", "5.jpg"), None, Picture(folder / "7.jpg"),
    ]  # fmt: skip


@pytest.fixture
def bad(pictures):
    """Every kind of problem in eight pairs."""
    rows = lambda *numbers: np.array(numbers, np.int64)  # noqa: E731
    image, text = np.ones((8, 3), np.float32), np.ones((8, 2))
    image[2, 1], text[2, 0], text[4] = np.nan, np.inf, 0
    labels = np.ones((8, 2), np.uint8)
    labels[5] = 0
    return Gathered(
        name="bad", ids=["a", "b", "c", "a", "e", "b", "b", "h"], pictures=pictures,
        texts=[("one",), ("one", "two"), (), (" ", "\n"), ("x",), ("x",), ("x",), ("one",)], image=image, text=text,
        labels=labels, class_names=("p", "q"), where=[f"t.csv:{i + 2}" for i in range(8)],
        splits={"own": Split(rows(0, 1, 4), rows(2, 3, 4, 5, 6, 7), rows(1, 2, 3, 7))},
    )  # fmt: skip


def test_every_kind_is_counted_and_named(bad):
    seen = []
    found = problems.examine(bad, progress=lambda done, total: seen.append((done, total)))
    rows = {one.kind: one.rows.tolist() for one in found}
    assert rows == {
        "missing-picture": [3, 6], "damaged-picture": [1, 5], "duplicate-id": [3, 5, 6], "empty-text": [2, 3],
        "no-label": [5], "not-finite": [2], "zero-features": [4], "query-overlap": [1, 4], "leak": [7],
    }  # fmt: skip
    assert seen[-1] == (8, 8)
    assert list(rows) == list(problems.kinds())
    lines = {one.kind: one.examples for one in found}
    assert lines["missing-picture"][0].endswith("some.zip:3.jpg")
    assert lines["missing-picture"][1] == "t.csv:8 (id b): no picture is named"
    assert "1.jpg: not a readable picture" in lines["damaged-picture"][0]
    assert lines["empty-text"] == ("t.csv:4 (id c): no caption", "t.csv:5 (id a): 2 blank captions")
    assert lines["not-finite"] == ("t.csv:4 (id c): image features have nan in column 1",)
    assert lines["zero-features"] == ("t.csv:6 (id e): text features are all zero",)
    assert lines["leak"] == ("t.csv:9 (id h): picture and text of the query t.csv:2 (id a)",)
    assert problems.examine(bad).to_dict()["found"][-1]["split"] == "own"


def test_looking_without_opening(bad):
    found = problems.examine(bad, open_pictures=False)
    assert found.of("missing-picture").count == 2
    assert found.of("damaged-picture") is None
    assert found.of("leak").rows.tolist() == [5, 6, 7]  # by image features and texts
    assert found.of("leak").examples[0] == "t.csv:7 (id b): image features and text of the query t.csv:6 (id e)"
    assert problems.examine(replace(bad, image=None), open_pictures=False).of("leak") is None
    assert found.to_dict()["pictures"] == "looked for"


def test_nothing_wrong(bad):
    fine = problems.take(bad, np.array([0, 4]), {"s": Split(np.array([0]), np.array([4]), np.array([4]))})
    fine = replace(fine, text=np.ones((2, 2)))
    found = problems.examine(fine)
    assert len(found) == 0
    cleaned = problems.apply(fine, found)
    assert cleaned.record == ()
    assert cleaned.gathered.texts is fine.texts


def test_refuses_with_every_kind_in_one_error(bad):
    found = problems.examine(bad)
    with pytest.raises(ValueError) as caught:
        problems.apply(bad, found, {"empty-text": "keep", "no-label": "skip", "leak": "refuse"})
    line = " ".join(str(caught.value).split())
    assert line.startswith("bad: 8 pairs, refused for missing-picture: 2 pairs, t.csv:5 (id a): no such picture:")
    assert "[--skip missing-picture or --keep missing-picture]" in line  # image features stand in
    assert "duplicate-id: 3 pairs, t.csv:5 (id a): an earlier pair's id [--skip duplicate-id];" in line
    assert "not-finite: 1 pair, t.csv:4" in line
    assert "leak of split own: 1 pair" in line
    assert "empty-text" not in line
    assert "no-label" not in line
    assert "zero-features" not in line  # told, not refused, unless asked for


def test_skipping_leaves_a_consistent_rest(bad):
    found = problems.examine(bad)
    every = dict.fromkeys(problems.kinds(), "skip")
    cleaned = problems.apply(bad, found, every | {"zero-features": "keep", "leak": "keep"})
    left = cleaned.gathered
    assert list(left.ids) == ["a", "e", "h"]
    assert [len(texts) for texts in left.texts] == [1, 1, 1]
    assert list(left.where) == ["t.csv:2", "t.csv:6", "t.csv:9"]
    assert left.splits["own"].query.tolist() == [0, 1]
    assert left.splits["own"].train.tolist() == [2]
    record = {(one.kind, one.policy): list(one.ids) for one in cleaned.record}
    assert record[("query-overlap of split own", "skip")] == ["e"]
    assert record[("leak of split own", "keep")] == ["h"]
    assert record[("zero-features", "keep")] == ["e"]
    assert "left out: 2 pairs (missing-picture)" in left.notes
    assert "kept: 1 pair (zero-features)" in left.notes
    assert left.splits["own"].database.tolist() == [2]
    with pytest.raises(ValueError, match=r"split own: no database pair is left of 6: .* 1 pair \(leak of split own\)"):
        problems.apply(bad, found, every | {"zero-features": "keep"})


@given(st.data(), st.integers(2, 30), st.sampled_from([np.float16, np.float32, np.float64, np.uint8]))
@settings(max_examples=40, deadline=None)
def test_leaks_of_features_are_those_of_all_pairs(data, n, dtype):
    values = st.lists(st.integers(0, 1), min_size=n * 2, max_size=n * 2)
    image, text = (np.array(data.draw(values), dtype).reshape(n, 2) for _ in range(2))
    rows, queries = np.arange(n), data.draw(st.integers(1, n - 1))
    split = Split(rows[:queries], rows[queries:], rows[queries:])
    found = problems.examine(Gathered(name="g", image=image, text=text, splits={"s": split}))
    want = [row for row in rows[queries:] if image[row].any() and any(
        (image[row] == image[q]).all() and (text[row] == text[q]).all() for q in rows[:queries])]  # fmt: skip
    leak = found.of("leak")
    assert ([] if leak is None else leak.rows.tolist()) == want


EVERY = ["missing-picture", "damaged-picture", "empty-text", "no-label", "not-finite", "zero-features", "duplicate-id"]


@given(st.data(), st.integers(3, 40))
@settings(max_examples=60, deadline=None)
def test_splits_keep_their_ids_less_the_skipped(data, n):
    flags = st.lists(st.booleans(), min_size=n, max_size=n)
    rows = np.arange(n)
    ids = [f"i{data.draw(st.integers(0, 2 * n))}" for _ in rows] if data.draw(st.booleans()) else None
    texts = [("",) if blank else ("a",) for blank in data.draw(flags)]
    labels = np.array([[not none] for none in data.draw(flags)], np.uint8)
    part = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    split = Split(rows[part == 0], rows[part > 0], rows[part == 2])
    image = np.where(np.array(data.draw(flags))[:, None], np.nan, rows[:, None] + 1.0)
    before = Gathered(
        name="g", ids=ids, texts=texts, labels=labels, class_names=("c",), image=image, splits={"s": split}
    )
    skip = set(data.draw(st.sets(st.sampled_from(EVERY)))) | {"duplicate-id"}
    policies = {kind: "skip" if kind in skip else "keep" for kind in EVERY if kind not in ("duplicate-id",)}
    policies |= {"duplicate-id": "skip", "not-finite": "skip"}
    found = problems.examine(before)
    names = ids or [str(row) for row in rows]
    alive, seen = [], set()
    for row in rows:
        gone = np.isnan(image[row, 0])
        gone |= "empty-text" in skip and texts[row] == ("",)
        gone |= "no-label" in skip and not labels[row, 0]
        if not gone and names[row] not in seen:
            seen.add(names[row])
            alive.append(int(row))
    parts = [
        [row for row in getattr(split, field).tolist() if row in alive] for field in ("query", "database", "train")
    ]
    emptied = [field for field, left in zip(("query", "database", "train"), parts, strict=True)
               if not left and len(getattr(split, field))]  # fmt: skip
    if not alive or emptied:
        with pytest.raises(ValueError, match=r"no (\w+ )?pair is left"):
            problems.apply(before, found, policies)
        return
    cleaned = problems.apply(before, found, policies)
    after = cleaned.gathered
    after_ids = [str(i) for i in range(n)] if after.ids is None else list(after.ids)
    assert after_ids == [names[row] for row in alive]
    np.testing.assert_array_equal(after.image[:, 0], [row + 1 for row in alive])
    for field, left in zip(("query", "database", "train"), parts, strict=True):
        assert [after_ids[row] for row in getattr(after.splits["s"], field)] == [names[row] for row in left]
    gone = sum(one.count for one in cleaned.record if one.policy == "skip")
    assert gone == n - len(alive)
    assert not [one for one in problems.examine(after) if policies[one.kind] == "skip"]


def test_a_million_rows_go_by_columns(monkeypatch):
    """No look at all pairs of rows, and no Picture, tuple or string made but those that a column hands out."""
    n = 200_000
    ids = [str(i % (n - 2)) for i in range(n)]
    big = Gathered(
        name="big", ids=ids, image=np.arange(1, 4 * n + 1, dtype=np.float32).reshape(n, 4),
        labels=np.ones((n, 3), np.uint8),
        class_names=("a", "b", "c"), texts=[("t",)] * n,
        splits={"s": Split(np.arange(100), np.arange(100, n), np.arange(100, n))},
    )  # fmt: skip
    cleaned = problems.apply(big, problems.examine(big), {"duplicate-id": "skip"})
    assert len(cleaned.gathered) == n - 2
    assert list(cleaned.record[0].ids) == ["0", "1"]


def test_the_documented_table_is_that_of_the_code():
    text = (Path(__file__).parents[2] / "docs" / "data_own.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    told = {row[0].strip("| `"): (row[2].split(",")[0], row[4].startswith("no")) for row in rows}
    assert told == {
        name: ("refused" if kind.default == "refuse" else "kept", bool(kind.kept))
        for name, kind in problems.kinds().items()
    }


@pytest.mark.parametrize(
    ("policies", "line"),
    [
        ({"colour": "skip"}, "kind must be one of missing-picture, .*leak, got 'colour'"),
        ({"empty-text": "drop"}, "empty-text must be one of refuse, skip, keep, got 'drop'"),
        ({"duplicate-id": "keep"}, "duplicate-id cannot be kept, ids must be distinct: skip it or refuse it"),
        ({"query-overlap": "keep"}, "query-overlap cannot be kept, a query must not find itself"),
    ],
)
def test_impossible_policies(policies, line):
    with pytest.raises(ValueError, match=line) as caught:
        problems.resolve(policies)
    assert "\n" not in str(caught.value)


def test_unread_pictures_are_kept_only_where_features_stand_in(pictures):
    bare = Gathered(name="bare", pictures=pictures, texts=[("x",)] * 8)
    found = problems.examine(bare)
    with pytest.raises(ValueError, match="missing-picture cannot be kept, no features stand in for the 2 pictures"):
        problems.apply(bare, found, {"missing-picture": "keep", "damaged-picture": "skip"})
    with pytest.raises(ValueError, match=r"\[--skip missing-picture\]"):
        problems.apply(bare, found)
    featured = replace(bare, image=np.ones((8, 1)))
    policies = {"missing-picture": "keep", "damaged-picture": "keep", "duplicate-id": "skip"}
    assert len(problems.apply(featured, problems.examine(featured), policies).gathered) == 8


def test_splits_that_no_option_mends():
    n, one = np.arange(4), np.array([0])
    for split, line in [
        (Split(one, np.array([4]), n), r"split s: database must be row numbers from 0 to 3, got 4 to 4"),
        (Split(np.array([1, 1]), n, n), r"split s: query must have each row once, 1 are there twice, the first is 1"),
    ]:
        with pytest.raises(ValueError, match=line):
            problems.examine(Gathered(name="g", image=np.ones((4, 1)), splits={"s": split}))


def test_features_are_looked_at_as_they_are_kept():
    image = np.array([[1.0, 1], [1e300, 1], [1e-300, 0]])
    found = problems.examine(Gathered(name="wide", image=image))
    assert [(one.kind, one.rows.tolist()) for one in found] == [("not-finite", [1]), ("zero-features", [2])]


def test_labels_of_layers_and_other_data(bad):
    layered = Gathered(name="t", texts=[("x",)] * 3, layers={"top": ["a", "a", "b"], "fine": ["p", " ", "q"]})
    found = problems.examine(layered)
    assert [(one.kind, one.rows.tolist()) for one in found] == [("no-label", [1])]
    with pytest.raises(ValueError, match="must be those of these 8 pairs, got those of 3"):
        problems.apply(bad, found)


def test_pictures_of_odd_paths(tmp_path):
    (tmp_path / "f.jpg").mkdir()
    odd = [Picture(tmp_path / "f.jpg"), Picture(tmp_path / "f.jpg" / "none.jpg"), Picture(Path("nul\0.jpg")),
           Picture(tmp_path / "no.zip", "a.jpg"), Picture(tmp_path / "no.tar", "a.jpg@512")]  # fmt: skip
    found = problems.examine(Gathered(name="odd", pictures=odd))
    assert found.of("damaged-picture").rows.tolist() == [0, 2]
    assert found.of("missing-picture").rows.tolist() == [1, 3, 4]
    looked = problems.examine(Gathered(name="odd", pictures=odd), open_pictures=False)
    assert looked.of("missing-picture").count == 5
