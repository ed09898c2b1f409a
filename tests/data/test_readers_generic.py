"""Readers of anybody's files, which other packages wrote: folders with tables, and arrays."""

import io
import json
import os
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasthash.data import problems, readers

Image = pytest.importorskip("PIL.Image")
pandas = pytest.importorskip("pandas")


def save_picture(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 6, 3), value, np.uint8)).save(path)


@pytest.fixture
def frame():
    return pandas.DataFrame(
        {
            "file_name": ["a.png", "b.png", "c.png", "d.png"],
            "caption": ["one, two", 'with "quotes"', "two\nlines", "ünï"],
            "kind": ["cat|dog", "dog", None, "ant"],
            "split": ["train", "test", "val", "train"],
            "ID": [7, 8, 9, 10],
            "junk": range(4),
        }
    )


WRITERS = {
    "t.csv": lambda frame, path: frame.to_csv(path, index=False),
    "semicolon.csv": lambda frame, path: frame.to_csv(path, index=False, sep=";"),
    "t.tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "bom.csv": lambda frame, path: frame.to_csv(path, index=False, encoding="utf-8-sig"),
    "t.jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    "t.json": lambda frame, path: frame.to_json(path, orient="records"),
}


@pytest.mark.parametrize("file", WRITERS)
def test_a_folder_with_a_table(tmp_path, frame, file):
    for name in frame.file_name:
        save_picture(tmp_path / "images" / name)
    WRITERS[file](frame, tmp_path / file)
    found = readers.read("folder", tmp_path, labels="kind", separator="|", progress=False)
    assert readers.detect(tmp_path) == "folder"
    assert [picture.path for picture in found.pictures] == [tmp_path / "images" / name for name in frame.file_name]
    assert list(found.texts) == [(text,) for text in frame.caption]
    assert found.class_names == ("ant", "cat", "dog")
    assert found.labels.tolist() == [[0, 1, 1], [0, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert list(found.ids) == ["7", "8", "9", "10"]
    split = found.splits["given"]
    assert [part.tolist() for part in (split.query, split.database, split.train)] == [[1], [0, 2, 3], [0, 3]]
    assert found.notes == (
        "1 pairs of the validation part are searched, and not trained on", "columns that were not read: junk",
    )  # fmt: skip
    assert found.where[0] in (f"{file}:1", f"{file}:2")
    named = {one.kind: one.examples for one in problems.examine(found)}
    assert list(named) == ["no-label"]
    assert named["no-label"][0] == f"{found.where[2]} (id 9): no label"


def test_roles_are_named_where_names_are_unusual(tmp_path):
    pandas.DataFrame(
        {"sku": ["1", "2"], "name": ["x", "y"], "about": ["p", None], "top": ["A", "B"], "sub": ["a", "b"]}
    ).to_csv(tmp_path / "styles.csv", index=False)
    save_picture(tmp_path / "shots" / "1.jpg")
    found = readers.read(
        "folder", tmp_path, image="sku", suffix=".jpg", pictures="shots", text="name,about", layers="top,sub",
        id="sku", progress=False, name="shop",
    )  # fmt: skip
    assert list(found.texts) == [("x", "p"), ("y",)]
    assert {name: list(of) for name, of in found.layers.items()} == {"top": ["A", "B"], "sub": ["a", "b"]}
    assert found.name == "shop"
    assert [one.kind for one in problems.examine(found)] == ["missing-picture"]
    with pytest.raises(ValueError, match=r"no column 'brand' for labels; there are sku, name, about, top, sub"):
        readers.read("folder", tmp_path, labels="brand")
    with pytest.raises(ValueError, match="no column of pictures or texts; there are sku, .*image=COLUMN"):
        readers.read("folder", tmp_path)


def test_numbered_captions_lists_and_features_beside(tmp_path):
    rows = [
        {"image": "a.png", "caption_0": "p", "caption_1": "q", "labels": ["x", "y"]},
        {"image": "b.png", "caption_0": "r", "labels": []},
    ]
    (tmp_path / "t.jsonl").write_text("\n\n".join(map(json.dumps, rows)))
    np.save(tmp_path / "clip.npy", np.arange(6.0).reshape(2, 3))
    found = readers.read("folder", tmp_path / "t.jsonl", image_features="clip.npy", progress=False)
    assert list(found.texts) == [("p", "q"), ("r",)]
    assert found.labels.tolist() == [[1, 1], [0, 0]]
    assert list(found.where) == ["t.jsonl:1", "t.jsonl:3"]
    np.testing.assert_array_equal(found.image, np.arange(6.0).reshape(2, 3))
    np.save(tmp_path / "clip.npy", np.ones((3, 3)))
    with pytest.raises(ValueError, match=r"image_features must be \[2, width\], a row for each pair, got \[3, 3\]"):
        readers.read("folder", tmp_path / "t.jsonl", image_features="clip.npy")


def test_the_captions_and_splits_of_karpathy(tmp_path):
    parts = {"train": "train2014", "restval": "val2014", "val": "val2014", "test": "val2014"}
    rows = [
        {"filepath": folder, "filename": f"{i}.jpg", "imgid": i, "cocoid": 10 + i, "split": part,
         "sentences": [{"raw": f"{part} a", "tokens": []}, {"raw": "b"}]}
        for i, (part, folder) in enumerate(parts.items())
    ]  # fmt: skip
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": rows, "dataset": "coco"}))
    found = readers.read("folder", tmp_path)
    assert list(found.ids) == ["10", "11", "12", "13"]
    assert found.pictures[1].path == tmp_path / "val2014/1.jpg"
    assert found.texts[0] == ("train a", "b")
    split = found.splits["given"]
    assert [part.tolist() for part in (split.query, split.database, split.train)] == [[3], [0, 1, 2], [0, 1]]
    del rows[2]["sentences"]
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": rows}))
    with pytest.raises(ValueError, match="dataset_coco.json:3: must be an image with filename, split and sentences"):
        readers.read("folder", tmp_path)


@pytest.mark.parametrize("how", ["zip", "tar"])
def test_pictures_in_an_archive_beside_the_table(tmp_path, how):
    for name in ("1.png", "2.png", "x/3.png", "y/3.png"):
        save_picture(tmp_path / "made" / "in" / name, int(name[-5]))
    shutil.make_archive(str(tmp_path / "pictures"), how, tmp_path / "made")
    shutil.rmtree(tmp_path / "made")
    (tmp_path / "t.csv").write_text("image,text\n2.png,b\nin/1.png,a\n,c\n4.png,d\nx/3.png,e")
    for found in (readers.read("folder", tmp_path), readers.read("folder", tmp_path, pictures=f"pictures.{how}")):
        one, two, none, absent, three = found.pictures
        assert [int(np.asarray(each.open())[0, 0, 0]) for each in (one, two, three)] == [2, 1, 3]
        assert none is None
        assert not absent.exists()
        assert problems.examine(found).of("missing-picture").rows.tolist() == [2, 3]
    (tmp_path / "t.csv").write_text("image,text\n3.png,b")
    with pytest.raises(ValueError, match=r"has several pictures 3.png, such as .*3.png and"):
        readers.read("folder", tmp_path)
    (tmp_path / f"pictures.{how}").write_bytes(b"no archive" * 100)
    with pytest.raises(ValueError, match="damaged"):
        readers.read("folder", tmp_path)
    with pytest.raises(ValueError, match=r"pictures must be a folder, or an archive .zip, .tar, got .*t.csv"):
        readers.read("folder", tmp_path, pictures="t.csv")


def test_several_rows_of_a_picture(tmp_path):
    """Flickr30k's way: five lines a picture."""
    lines = ["image,caption,label", "a.jpg,p,x", "b.jpg,q,y", "a.jpg,r,x", "a.jpg,,x"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"t.csv:4: the picture a.jpg is that of line 2 too: captions=group makes"):
        readers.read("folder", tmp_path)
    found = readers.read("folder", tmp_path, captions="group")
    assert list(found.texts) == [("p", "r"), ("q",)]
    assert list(found.where) == ["t.csv:2", "t.csv:3"]
    assert list(found.ids) == ["a.jpg", "b.jpg"]
    assert found.labels.tolist() == [[1, 0], [0, 1]]
    rows = readers.read("folder", tmp_path, captions="rows")
    assert (len(rows), rows.ids) == (4, None)
    (tmp_path / "t.csv").write_text("\n".join([*lines, "b.jpg,s,z"]))
    with pytest.raises(ValueError, match=r"t.csv:6: label must be that of line 3, which has the same picture, got 'z'"):
        readers.read("folder", tmp_path, captions="group")


def test_a_folder_of_pictures_in_capitals(tmp_path):
    save_picture(tmp_path / "Images" / "a.png", 1)
    (tmp_path / "captions.txt").write_text("image,caption\na.png,one\na.png,two\n")  # as Flickr8k is handed on
    assert readers.detect(tmp_path) == "folder"
    found = readers.read("folder", tmp_path, captions="group")
    assert found.texts == [("one", "two")]
    assert found.pictures[0].exists()


def test_names_that_are_no_utf8(tmp_path):
    odd = tmp_path / os.fsdecode(b"\xff.png")
    try:
        odd.touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    with pytest.raises(ValueError, match=r"names of files must be UTF-8, got b'\\xff.png'"):
        readers.read("folder", tmp_path)


def test_a_folder_without_a_table(tmp_path):
    for path, value in [("train/cat/1.png", 1), ("train/dog/big/2.png", 2), ("test/cat/3.png", 3)]:
        save_picture(tmp_path / path, value)
    (tmp_path / "train/cat/1.txt").write_text("a cat\n\nof some kind \n")
    (tmp_path / "train/cat/notes.txt").write_text("no picture of this name")
    assert readers.detect(tmp_path) == "folder"
    found = readers.read("folder", tmp_path)
    assert list(found.ids) == ["test/cat/3", "train/cat/1", "train/dog/big/2"]
    assert found.class_names == ("cat", "dog/big")
    assert found.texts == [(), ("a cat", "of some kind"), ()]
    assert found.splits["given"].query.tolist() == [0]
    with pytest.raises(ValueError, match="every picture must lie 2 sub-folders deep, got test/cat/3.png"):
        readers.read("folder", tmp_path, layers="top,sub")
    with pytest.raises(ValueError, match="separator is an option of a table, and .* has none"):
        readers.read("folder", tmp_path, separator="|")
    flat = readers.read("folder", tmp_path / "test" / "cat")
    assert (flat.labels, flat.texts, list(flat.ids)) == (None, None, ["3"])
    deep = readers.read("folder", tmp_path / "train" / "dog", layers="sub")
    assert list(deep.layers["sub"]) == ["big"]
    (tmp_path / "train" / "loop").symlink_to(tmp_path / "train")
    (tmp_path / "train" / "cat" / "._1.png").write_bytes(b"what some systems leave beside a picture")
    assert list(readers.read("folder", tmp_path).ids) == list(found.ids)


@pytest.mark.parametrize(
    ("file", "content", "line"),
    [
        ("t.csv", b"image,text\na,b\nc\n", "t.csv:3: must have 2 cells like the header, got 1"),
        ("t.csv", b"image,text\na,b,c\n", "t.csv:2: must have 2 cells like the header, got 3"),
        ("t.csv", b"image,text\na,b\nc,\xff\xfe\n", "t.csv:3: must be UTF-8, other bytes are in this line"),
        ("t.csv", b'image,text\na,"b\n', "t.csv:2: unexpected end of data"),
        ("t.csv", b"", "t.csv:1: must be a header, got an empty line"),
        ("t.csv", b"image,text\n", "t.csv: must have a header and rows, got no rows"),
        ("t.csv", b"image,image\n", "t.csv:1: names of columns must differ, got 'image' twice"),
        ("t.csv", b"image,split\na,train\nb,somewhere\n", "t.csv:3: split must be one of query, .*, got 'somewhere'"),
        ("t.csv", b"image,split\na,train\nb,train\n", "split must have queries .* and others, got train alone"),
        ("t.jsonl", b'{"image": "a"}\n{"image": \n', "t.jsonl:2: must be JSON"),
        ("t.jsonl", b'{"image": "a"}\n[1]\n', r"t.jsonl:2: must be an object \{...\}, got list"),
        ("t.jsonl", b'{"image": "a"}\n{"text": {"en": "b"}}\n', "t.jsonl:2: text must be words or a list of them"),
        ("t.jsonl", b'{"image": ["a"]}\n', "t.jsonl:1: a picture must be the name of a file, got list"),
        ("t.jsonl", b'{"image": "a", "labels": [{}]}\n', "t.jsonl:1: labels must be words, numbers or a list of them"),
        ("t.jsonl", b"\n\n", "t.jsonl: must have objects with fields, got none"),
        ("t.json", b'{"image": "a"}', "t.json: must be a list of objects, got dict"),
    ],
)
def test_what_is_wrong_with_a_table_has_file_and_line(tmp_path, file, content, line):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=line) as caught:
        readers.read("folder", tmp_path, progress=False)
    assert "\n" not in str(caught.value)


def test_what_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="must have pictures .* or a table, got neither"):
        readers.read("folder", tmp_path)
    (tmp_path / "a.csv").write_text("image\nx")
    (tmp_path / "b.csv").write_text("image\ny")
    with pytest.raises(ValueError, match=r"has several tables \(a.csv, b.csv\): name one as table=NAME"):
        readers.read("folder", tmp_path)
    assert len(readers.read("folder", tmp_path, table="b.csv")) == 1
    for option in ({"table": "c.csv"}, {"table": "a.csv", "pictures": "nowhere"}):
        with pytest.raises(FileNotFoundError, match="no such"):
            readers.read("folder", tmp_path, **option)
    with pytest.raises(ValueError, match="captions must be one of group, rows, got 'both'"):
        readers.read("folder", tmp_path, table="a.csv", captions="both")


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r\n", exclude_categories=["Cs"]), max_size=12)


@given(st.lists(st.tuples(WORDS, st.lists(st.sampled_from(["b", "a", "10", "9"]), unique=True, max_size=3)), min_size=1,
                max_size=8))  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_any_words_come_back_from_json_lines(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("words") / "t.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for text, labels in rows:
            file.write(json.dumps({"caption": text, "labels": labels}, ensure_ascii=False) + "\n")
    found = readers.read("folder", path, progress=False)
    assert list(found.texts) == [(text.strip(),) if text.strip() else () for text, _ in rows]
    names = [{found.class_names[c] for c in np.flatnonzero(row)} for row in found.labels]
    assert names == [set(labels) for _, labels in rows]


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "image": rng.standard_normal((6, 4)).astype(np.float32), "text": rng.standard_normal((6, 3)),
        "labels": np.array([3, 1, 1, 2, 3, 10]), "ids": np.array([f"i{i}" for i in range(6)]),
        "query": np.array([4, 0]),
    }  # fmt: skip


def check_arrays(found, arrays, ids=True):
    np.testing.assert_array_equal(found.image, arrays["image"])
    np.testing.assert_array_equal(found.text, arrays["text"])
    assert found.class_names == ("1", "2", "3", "10")
    assert [found.class_names[row.argmax()] for row in found.labels] == [str(k) for k in arrays["labels"]]
    assert found.ids == (list(arrays["ids"]) if ids else None)
    split = found.splits["given"]
    assert sorted(split.query.tolist()) == [0, 4]
    assert split.database.tolist() == split.train.tolist() == [1, 2, 3, 5]


def test_arrays_by_their_usual_names(tmp_path, arrays):
    np.savez(tmp_path / "all.npz", **arrays)
    check_arrays(readers.read("auto", tmp_path / "all.npz"), arrays)
    apart = tmp_path / "apart"
    apart.mkdir()
    for name, array in arrays.items():
        np.save(apart / f"{name}.npy", array)
    check_arrays(readers.read("auto", apart), arrays)


def test_arrays_of_other_programs(tmp_path, arrays):
    save = pytest.importorskip("scipy.io").savemat
    save(tmp_path / "a.mat", {"I_all": arrays["image"], "T_all": arrays["text"], "L_all": arrays["labels"][:, None],
                              "q": arrays["query"] + 1})  # fmt: skip
    options = {"image": "I_all", "text": "T_all", "labels": "L_all", "query": "q", "first_row": 1}
    check_arrays(readers.read("arrays", tmp_path / "a.mat", **options), arrays, ids=False)
    tensors = pytest.importorskip("safetensors.numpy")
    tensors.save_file({"image_embeds": arrays["image"], "text_embeds": arrays["text"]}, tmp_path / "e.safetensors")
    np.savez(tmp_path / "rest.npz", l=arrays["labels"], q=np.isin(np.arange(6), arrays["query"]))
    found = readers.read("arrays", tmp_path / "e.safetensors", labels="rest.npz:l", query=f"{tmp_path / 'rest.npz'}:q")
    check_arrays(found, arrays, ids=False)


def test_arrays_of_texts_and_multi_hot(tmp_path, arrays):
    captions = np.array([["a cat", "b"], ["c", ""]])
    np.savez(
        tmp_path / "a.npz", image=arrays["image"][:2], text=captions, labels=np.eye(2), classes=np.array(["p", "q"])
    )
    found = readers.read("arrays", tmp_path / "a.npz")
    assert [tuple(filter(None, texts)) for texts in found.texts] == [("a cat", "b"), ("c",)]
    assert found.labels.dtype == np.uint8
    assert found.class_names == ("p", "q")
    alone = readers.read("arrays", tmp_path / "a.npz", text="none", labels="none")
    assert set(alone.columns()) == {"image"}


def test_a_large_npy_stays_in_its_file(tmp_path, monkeypatch):
    from fasthash.features import _array_formats

    monkeypatch.setattr(_array_formats, "MAPPED", 100)
    np.save(tmp_path / "image.npy", np.ones((50, 4), np.float16))
    assert isinstance(readers.read("auto", tmp_path).image, np.memmap)


def test_a_large_array_of_another_kind_goes_by_blocks(tmp_path, monkeypatch, arrays):
    from fasthash.data import _scratch
    from fasthash.data.readers import arrays as module

    for home in (_scratch, module):
        monkeypatch.setattr(home, "IN_MEMORY", 32)
    monkeypatch.setattr(module, "_ROWS", 4)
    np.savez(tmp_path / "a.npz", **arrays)
    found = readers.read("arrays", tmp_path / "a.npz")
    assert isinstance(found.image, np.memmap)
    check_arrays(found, arrays)
    tensors = pytest.importorskip("safetensors.numpy")
    tensors.save_file({name: arrays[name] for name in ("image", "text")}, tmp_path / "e.safetensors")
    np.testing.assert_array_equal(readers.read("arrays", tmp_path / "e.safetensors").text, arrays["text"])
    left = problems.take(found, np.array([1, 4, 5]))
    assert isinstance(left.image, np.memmap)
    np.testing.assert_array_equal(left.image, arrays["image"][[1, 4, 5]])


@pytest.mark.parametrize(
    ("change", "options", "line"),
    [
        ({"image": np.ones(6)}, {}, r"image: .*a.npz:image must be numbers \[n, width\], got numbers \[6\]"),
        ({"image": np.ones((6, 2), complex)}, {}, "must be real numbers, got complex128"),
        ({"text": np.ones((5, 2))}, {}, "text must have 6 entries like image, got 5|image must have"),
        ({"labels": np.full((6, 2), 3)}, {}, r"labels must be multi-hot 0/1 \[6, c\], .* got values from 3 to 3"),
        ({"labels": np.ones(4)}, {}, r"labels must be multi-hot 0/1 \[6, c\], .* got float64 \[4\]"),
        ({"labels": np.full(6, 0.5)}, {}, "labels must be multi-hot"),
        ({"query": np.array([6])}, {}, r"query must be row numbers from 0 to 5, or booleans \[6\], got .* from 6 to 6"),
        ({"query": np.array([0])}, {"first_row": 1}, "query must be row numbers from 1 to 6"),
        ({"query": np.array([0])}, {"first_row": 2}, "first_row must be 0 or 1, got 2"),
        ({"ids": np.arange(5)}, {}, "ids must be 6 words or whole numbers, got int64"),
        ({}, {"image": "picture"}, "image: no array and no file 'picture'; .* holds image .6, 4., text"),
        ({}, {"image": "none", "text": "none"}, "name arrays with image=NAME and text=NAME"),
    ],
)
def test_what_is_wrong_with_arrays(tmp_path, arrays, change, options, line):
    np.savez(tmp_path / "a.npz", **(arrays | change))
    with pytest.raises(ValueError, match=line) as caught:
        readers.read("arrays", tmp_path / "a.npz", **options)
    assert "\n" not in str(caught.value)


def test_ids_that_are_numbers_of_matlab(tmp_path, arrays):
    np.savez(tmp_path / "a.npz", **(arrays | {"ids": np.arange(6.0)}))
    assert readers.read("arrays", tmp_path / "a.npz").ids == list("012345")


def test_no_pickle_is_opened(tmp_path):
    np.savez(tmp_path / "a.npz", image=np.array([{"a": 1}], object))
    with pytest.raises(ValueError, match="must be numbers"):
        readers.read("arrays", tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(io.BytesIO(b"PK\3\4 no archive").getvalue())
    with pytest.raises(ValueError, match="is damaged or no .npz file"):
        readers.read("arrays", tmp_path / "a.npz")


@pytest.mark.parametrize("first", [0, 1])
def test_class_numbers_with_names_of_classes_that_do_not_occur(tmp_path, first):
    numbers, names = np.array([2, 0, 2]) + first, np.array(["ant", "bee", "cat", "dog"])
    np.savez(tmp_path / "a.npz", image=np.ones((3, 2)), text=np.ones((3, 2)), labels=numbers, classes=names)
    made = readers.read("arrays", tmp_path / "a.npz", first_row=first)
    assert made.class_names == ("ant", "bee", "cat", "dog")
    assert made.labels.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
    np.savez(tmp_path / "b.npz", image=np.ones((3, 2)), text=np.ones((3, 2)), labels=numbers + 2, classes=names)
    with pytest.raises(ValueError, match=rf"class numbers from {first} to {first + 3}, for 4 names .* got {first + 2}"):
        readers.read("arrays", tmp_path / "b.npz", first_row=first)
