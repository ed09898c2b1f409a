"""Readers of containers, which their own packages wrote: Parquet, Hugging Face data sets, webdataset shards."""

import io
import json
import tarfile

import numpy as np
import pytest

from fasthash.data import problems, readers

Image = pytest.importorskip("PIL.Image")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def png(value):
    out = io.BytesIO()
    Image.fromarray(np.full((6, 6, 3), value, np.uint8)).save(out, "PNG")
    return out.getvalue()


def values_of(pictures):
    return [None if picture is None else int(np.asarray(picture.open())[0, 0, 0]) for picture in pictures]


@pytest.fixture
def table():
    return pa.table(
        {
            "id": [5, 6, 7, 8],
            "image": [{"bytes": png(i), "path": f"{i}.png"} for i in range(4)],
            "caption": [["a", "b"], [], None, ["c"]],
            "labels": [["x", "y"], ["y"], [], ["z"]],
            "image_embedding": pa.array([[1, 2], [3, 4], None, [5, 6]], pa.list_(pa.float64())),
            "text_embedding": pa.array([[0.5], [1], [2], [3]], pa.list_(pa.float16(), 1)),
        }
    )


def test_a_parquet_file_as_hugging_face_writes_it(tmp_path, table):
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=3)
    with pytest.raises(ValueError, match="the pictures of column image are bytes inside the file: export=FOLDER"):
        readers.read("parquet", tmp_path / "t.parquet")
    for _ in range(2):  # what was written is found again
        found = readers.read("auto", tmp_path / "t.parquet", export=tmp_path / "out" / "pictures", progress=False)
        assert values_of(found.pictures) == [0, 1, 2, 3]
    assert found.pictures[3].path == tmp_path / "out/pictures/0000/00000003.png"
    assert list(found.ids) == ["5", "6", "7", "8"]
    assert [found.texts[i] for i in range(4)] == list(found.texts) == [("a", "b"), (), (), ("c",)]
    assert found.class_names == ("x", "y", "z")
    assert found.labels.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]
    np.testing.assert_array_equal(found.image, [[1, 2], [3, 4], [np.nan, np.nan], [5, 6]])
    np.testing.assert_array_equal(found.text, [[0.5], [1], [2], [3]])
    assert found.where[3] == "t.parquet row 3"
    assert {one.kind: one.rows.tolist() for one in problems.examine(found)} == {
        "empty-text": [1, 2], "no-label": [2], "not-finite": [2],
    }  # fmt: skip
    assert readers.read("parquet", tmp_path / "t.parquet", export="none").pictures is None


def test_parquet_by_pandas_with_paths_and_other_names(tmp_path):
    pandas = pytest.importorskip("pandas")
    (tmp_path / "p").mkdir()
    (tmp_path / "p/a.png").write_bytes(png(9))
    frame = pandas.DataFrame({"where": ["p/a.png", None], "words": ["x", float("nan")], "kind": [3, 11], "n": [1, 0]})
    frame.to_parquet(tmp_path / "t.parquet")
    found = readers.read("parquet", tmp_path / "t.parquet", image="where", text="words", labels="kind")
    assert values_of(found.pictures) == [9, None]
    assert list(found.texts) == [("x",), ()]
    assert found.class_names == ("3", "11")
    assert found.notes == ("columns that were not read: n",)
    layered = readers.read("parquet", tmp_path / "t.parquet", image="none", text="words", layers="n,kind")
    assert {name: list(of) for name, of in layered.layers.items()} == {"n": ["1", "0"], "kind": ["3", "11"]}


def test_parts_of_a_folder_make_the_split(tmp_path, table):
    small = table.select(["caption", "image_embedding"])
    for name, rows in (
        ("train-00000-of-00002", small[:1]),
        ("train-00001-of-00002", small[3:]),
        ("test-0", small[1:2]),
    ):
        pq.write_table(rows, tmp_path / f"{name}.parquet")
    assert readers.detect(tmp_path) == "parquet"
    found = readers.read("auto", tmp_path)
    assert list(found.texts) == [(), ("a", "b"), ("c",)]
    assert found.splits["given"].query.tolist() == [0]
    assert found.splits["given"].train.tolist() == [1, 2]
    assert found.where[2] == "train-00001-of-00002.parquet row 0"
    assert readers.read("auto", tmp_path, split="none").splits == {}
    pq.write_table(small.select(["caption"]), tmp_path / "train-2.parquet")
    with pytest.raises(
        ValueError, match=r"train-2.parquet must have the columns and types of .*got no image_embedding"
    ):
        readers.read("parquet", tmp_path)


def test_a_column_of_words_makes_the_split_and_features_stay_out_of_memory(tmp_path, monkeypatch):
    from fasthash.data import _scratch

    monkeypatch.setattr(_scratch, "IN_MEMORY", 1000)
    values = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    embeddings = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 8)
    split = ["train"] * 200 + ["query"] * 50 + ["database"] * 50
    pq.write_table(pa.table({"image_features": embeddings, "split": split}), tmp_path / "t.parquet")
    found = readers.read("parquet", tmp_path / "t.parquet")
    assert isinstance(found.image, np.memmap)
    np.testing.assert_array_equal(found.image, values)
    parts = found.splits["given"]
    assert [len(part) for part in (parts.query, parts.database, parts.train)] == [50, 250, 200]


@pytest.mark.parametrize(
    ("columns", "options", "line"),
    [
        (
            {"image_features": [[1.0, 2.0], [1.0]]},
            {},
            "image_features must have 2 numbers in every row, got 1 in .*row 1",
        ),
        ({"image_features": [[], []]}, {"image_features": "image_features"}, "must hold lists of numbers, got list<"),
        ({"a": [1], "b": ["x"]}, {}, "no column of pictures, texts or features; there are a, b"),
        ({"image": [1]}, {}, "image: column image must hold paths, bytes or struct{bytes, path}, got int64"),
        ({"text": [{"en": "x"}]}, {}, "text: column text must hold words or numbers, got struct"),
        ({"text": ["x"]}, {"labels": "kind"}, "no column 'kind' for labels; there are text"),
        ({"text": ["x"]}, {"image_features": "kind"}, "no column 'kind' for image_features; there are text"),
        ({"text": pa.array([], pa.string())}, {}, "must have rows, got none"),
    ],
)
def test_what_is_wrong_with_columns(tmp_path, columns, options, line):
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=line) as caught:
        readers.read("parquet", tmp_path / "t.parquet", **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [pa.float16(), pa.float32(), pa.float64(), pa.int8()], ids=str)
@pytest.mark.parametrize("form", [pa.list_, pa.large_list, lambda number: pa.list_(number, 3)])
def test_missing_embeddings_are_rows_of_nan(tmp_path, form, number):
    rows = [[1, 2, 3], None, [4, None, 6], [7, 8, 9], None, [1, 1, 1]]
    pq.write_table(pa.table({"text_features": pa.array(rows, form(number))}), tmp_path / "t.parquet", row_group_size=2)
    found = readers.read("parquet", tmp_path / "t.parquet")
    want = np.array([[np.nan] * 3 if row is None else [np.nan if x is None else x for x in row] for row in rows])
    np.testing.assert_array_equal(found.text, want)
    assert problems.examine(found).of("not-finite").rows.tolist() == [1, 2, 4]


@pytest.mark.parametrize("width", [1, 2, 4])
def test_lists_of_zeros_and_ones_are_rows_of_a_multi_hot_matrix(tmp_path, width):
    hot = np.random.default_rng(width).integers(0, 2, (9, width))
    pq.write_table(pa.table({"text": ["x"] * 9, "labels": hot.tolist()}), tmp_path / "t.parquet")
    found = readers.read("parquet", tmp_path / "t.parquet")
    want = np.eye(2)[hot[:, 0]] if width == 1 else hot  # lists of one number are lists of labels
    assert found.class_names == tuple(map(str, range(max(2, width))))
    np.testing.assert_array_equal(found.labels, want)


def test_damaged_parquet_is_told(tmp_path, table):
    path = tmp_path / "t.parquet"
    pq.write_table(table, path)
    whole = path.read_bytes()
    for content in (whole[:-20], b"", b"PAR1 no such thing", whole[:200] + b"\xff" * 400 + whole[600:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="t.parquet is damaged") as caught:
            readers.read("parquet", path, export=tmp_path / "out")
        assert "\n" not in str(caught.value)


@pytest.fixture
def hugging(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    yield datasets
    datasets.enable_progress_bars()


def test_a_saved_hugging_face_data_set(tmp_path, hugging):
    features = hugging.Features(
        {
            "image": hugging.Image(),
            "text": hugging.Value("string"),
            "label": hugging.ClassLabel(names=["cat", "cow", "ant"]),
        }
    )
    pictures = [Image.open(io.BytesIO(png(i))) for i in range(4)]
    columns = {"image": pictures, "text": ["a", "b", "c", "d"], "label": [1, 0, -1, 1]}
    data = hugging.Dataset.from_dict(columns, features=features)
    split = hugging.DatasetDict({"train": data.select([3, 1, 2]), "test": data.select([0])})
    split.save_to_disk(tmp_path / "saved")
    assert readers.detect(tmp_path / "saved") == "hf"
    found = readers.read("auto", tmp_path / "saved", export=tmp_path / "out", progress=False)
    assert values_of(found.pictures) == [3, 1, 2, 0]
    assert list(found.texts) == [("d",), ("b",), ("c",), ("a",)]
    assert found.class_names == ("cat", "cow", "ant")  # their order, with the class that does not occur
    assert found.labels.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert found.splits["given"].query.tolist() == [3]
    assert found.where[3] == "test row 0"
    one = readers.read("hf", tmp_path / "saved", parts="test", export="none", progress=False)
    assert (list(one.texts), one.splits) == ([("a",)], {})
    with pytest.raises(ValueError, match="parts: .* has train, test, got 'val'"):
        readers.read("hf", tmp_path / "saved", parts="val")
    hugging.DatasetDict({"left": data, "right": data}).save_to_disk(tmp_path / "odd")
    with pytest.raises(ValueError, match=r"has the splits left, right, which must be called .* split=none"):
        readers.read("hf", tmp_path / "odd")
    assert len(readers.read("hf", tmp_path / "odd", split="none", export="none", progress=False)) == 8
    data.to_parquet(tmp_path / "t.parquet")  # which has the classes beside the columns
    several = hugging.Features({"text": hugging.Value("string"), "labels": [features["label"]]})
    hugging.Dataset.from_dict({"text": ["a", "b"], "labels": [[2, 0], []]}, features=several).save_to_disk(
        tmp_path / "s"
    )
    assert readers.read("hf", tmp_path / "s", progress=False).labels.tolist() == [[1, 0, 1], [0, 0, 0]]
    again = readers.read("parquet", tmp_path / "t.parquet", export="none")
    assert again.class_names == ("cat", "cow", "ant")
    assert again.labels.argmax(1).tolist() == [1, 0, 0, 1]


def test_local_files_through_a_builder_and_by_name(tmp_path, hugging):
    for kind, value in (("cat", 3), ("dog", 4)):
        (tmp_path / "files/train" / kind).mkdir(parents=True)
        (tmp_path / "files/train" / kind / "1.png").write_bytes(png(value))
    found = readers.read("hf", tmp_path / "files", builder="imagefolder", progress=False)
    assert values_of(found.pictures) == [3, 4]
    assert found.class_names == ("cat", "dog")
    with pytest.raises(ValueError, match="no data set that save_to_disk wrote: .*builder=imagefolder"):
        readers.read("hf", tmp_path / "files")
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        readers.read("hf", tmp_path / "nowhere", builder="json")
    with pytest.raises(ValueError, match="hf: nobody/no-such-set: .*Hub") as caught:
        readers.read("hf", "nobody/no-such-set")
    assert "\n" not in str(caught.value)


def write_shard(path, samples):
    wds = pytest.importorskip("webdataset")
    path.parent.mkdir(parents=True, exist_ok=True)
    with wds.TarWriter(str(path)) as shard:
        for i, sample in samples.items():
            shard.write({"__key__": f"{i:03d}", **sample})


def test_webdataset_shards(tmp_path):
    write_shard(tmp_path / "train-0.tar", {i: {"png": png(i), "txt": f"c{i}", "cls": i % 2, "npy": np.ones(2)}
                                           for i in range(3)})  # fmt: skip
    write_shard(tmp_path / "train-1.tar", {3: {"png": png(3), "json": {"caption": ["p", "q"], "cls": 7, "url": "u"}}})
    write_shard(tmp_path / "test-0.tar", {4: {"txt": "two\nlines\n", "cls": 1}})
    assert readers.detect(tmp_path) == "webdataset"
    found = readers.read("auto", tmp_path)
    assert list(found.ids) == ["004", "000", "001", "002", "003"]
    assert values_of(found.pictures) == [None, 0, 1, 2, 3]
    assert str(found.pictures[2]) == f"{tmp_path}/train-0.tar:001.png"
    assert [tuple(texts) for texts in found.texts] == [("two", "lines"), ("c0",), ("c1",), ("c2",), ()]
    assert found.splits["given"].query.tolist() == [0]
    assert found.class_names == ("0", "1", "7")
    assert found.labels.argmax(1).tolist() == [1, 0, 1, 0, 2]
    assert found.notes == (
        "columns that were not read: caption", "members and fields that were not read: json:url, npy",
    )  # fmt: skip
    assert [one.kind for one in problems.examine(found)] == ["missing-picture", "empty-text"]
    pattern = readers.read("webdataset", f"{tmp_path}/train-{{0..1}}.tar", text="caption", image="none", split="none")
    assert (len(pattern), pattern.pictures, pattern.texts[3]) == (4, None, ("p", "q"))
    both = readers.read("webdataset", f"{tmp_path}/{{test,train}}-0.tar", keys="shard", text="txt")
    assert list(both.ids)[:2] == ["test-0/004", "train-0/000"]
    write_shard(tmp_path / "test-0.tar", {0: {"txt": "again"}})
    with pytest.raises(
        ValueError, match=r"key 000 is in test-0.tar and in train-0.tar: keys=shard makes ids SHARD/KEY"
    ):
        readers.read("webdataset", tmp_path)
    assert problems.examine(readers.read("webdataset", tmp_path, keys="key")).of("duplicate-id").rows.tolist() == [1]


def test_what_is_wrong_with_shards(tmp_path):
    path = tmp_path / "s.tar"
    write_shard(path, {i: {"png": png(i), "txt": "x"} for i in range(3)})
    whole = path.read_bytes()
    cases = [(whole[:1600], "s.tar: damaged tar file"), (whole[:-10240], "damaged tar file|no such"), (b"", "damaged")]
    for content, line in cases:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=line):
            readers.read("webdataset", path)
    for sample, line in [
        ({"json": b"{1"}, "s.tar:000.json: must be JSON"),
        ({"json": b"[1]"}, r"s.tar:000.json: must be an object \{...\}, got list"),
        ({"txt": b"\xff"}, "s.tar:000.txt: must be UTF-8, other bytes are in it"),
        ({"json": json.dumps({"caption": {"en": "x"}}).encode()}, "s.tar:000: text must be words or a list of them"),
        ({"png": png(0), "left.jpg": png(1)}, "s.tar:000.left.jpg: a second picture of 000: choose with image=SUFFIX"),
        ({"mp3": b"x"}, "has neither pictures nor texts; there are mp3"),
    ]:
        with tarfile.open(path, "w") as archive:
            for suffix, data in sample.items():
                info = tarfile.TarInfo(f"000.{suffix}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        with pytest.raises(ValueError, match=line) as caught:
            readers.read("webdataset", path)
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="no such file: .*t-1.tar"):
        readers.read("webdataset", f"{tmp_path}/t-{{1..2}}.tar")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"has no .tar"):
        readers.read("webdataset", tmp_path / "empty")


def test_shards_become_a_prepared_folder_whose_pictures_stay_in_them(tmp_path):
    from fasthash.data import load
    from fasthash.data.preparing import prepare

    write_shard(tmp_path / "s.tar", {i: {"png": png(i), "txt": f"c{i}", "cls": i % 2} for i in range(6)})
    write_shard(tmp_path / "t.tar", {6: {"png": b"no picture", "txt": "x", "cls": 1}})
    with pytest.raises(ValueError, match=r"refused for damaged-picture: 1 pair, t.tar:006 .*--skip damaged-picture"):
        prepare(tmp_path / "{s,t}.tar", tmp_path / "out", kind="webdataset", query=2, progress=False)
    assert not (tmp_path / "out").exists()
    policies = {"damaged-picture": "skip"}
    prepare(tmp_path / "{s,t}.tar", tmp_path / "out", kind="webdataset", query=2, policies=policies, progress=False)
    data = load(str(tmp_path / "out"))
    assert list(data.ids) == [f"00{i}" for i in range(6)]
    assert values_of(data.pictures) == list(range(6))
    assert "left out: 1 pair (damaged-picture)" in data.notes
    assert not set(data.split.query) & set(data.split.database)
