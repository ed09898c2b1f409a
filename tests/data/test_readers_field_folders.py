"""MIRFlickr-25K, NUS-WIDE and MS COCO as they are given out: small folders in each layout, bad files, real photos."""

import json
import os
import zipfile

import numpy as np
import pytest

from fasthash.data import load, readers
from fasthash.data.readers import coco, mirflickr25k, nus_wide

POTENTIAL = [
    "animals", "baby", "bird", "car", "clouds", "dog", "female", "flower", "food", "indoor", "lake", "male", "night",
    "people", "plant_life", "portrait", "river", "sea", "sky", "structures", "sunset", "transport", "tree", "water",
]  # fmt: skip
N = 45


def put_mirflickr(root):
    """Pictures 1 to 45: "sky" is a tag of all but 41 to 45, "cat" of 1 to 20, "rare" of 1 to 19; 45 has no tag at all.

    Class k of the 24 holds the pictures of which the number is k modulo 25; so 24 and others of k = 24 have no label.
    """
    tags, notes = root / "mirflickr" / "meta" / "tags", root / "mirflickr25k_annotations_v080"
    tags.mkdir(parents=True)
    notes.mkdir()
    for i in range(1, N + 1):
        words = (
            ["sky"] * (i <= 40) + ["cat"] * (i <= 20) + ["rare"] * (i <= 19) + ["sky"] * (i == 3) + ["été"] * (i == 41)
        )
        (tags / f"tags{i}.txt").write_text("".join(f"{word}\r\n" for word in words), encoding="utf-8", newline="")
    for k, name in enumerate(POTENTIAL):
        (notes / f"{name}.txt").write_text("".join(f"{i}\n" for i in range(1, N + 1) if i % 25 == k))
    for k, name in enumerate(POTENTIAL[:14]):
        (notes / f"{name}_r1.txt").write_text(f"{k + 1}\n")
    (notes / "README.txt").write_text("about\n")
    (root / "mirflickr" / "im1.jpg").touch()
    return root


def test_mirflickr_tagged(tmp_path):
    root = put_mirflickr(tmp_path)
    assert readers.detect(root) == "mirflickr25k"
    found = readers.read("mirflickr25k", root)
    kept = [i for i in range(1, 41) if i % 25 != 24]
    assert found.ids == [f"im{i}" for i in kept]
    assert (found.labels == [[i % 25 == k for k in range(24)] for i in kept]).all()
    assert found.class_names == tuple(POTENTIAL)
    assert found.texts[:2] + found.texts[-1:] == [("sky cat",), ("sky cat",), ("sky",)]
    assert (found.text == [[i <= 20, True] for i in kept]).all()  # cat, sky: "rare" is one picture short
    assert found.pictures[1].path == root / "mirflickr" / "im2.jpg"
    assert (found.name, found.text_features, found.where[0]) == ("mirflickr25k", "bow", "tags1.txt")


def test_mirflickr_labelled_in_the_order_of_the_clip_line(tmp_path):
    found = readers.read("mirflickr25k", put_mirflickr(tmp_path), subset="labelled", name="mine")
    kept = sorted(str(i) for i in range(1, N + 1) if i % 25 != 24)
    assert found.ids == [f"im{i}" for i in kept]
    assert found.ids[:3] == ["im1", "im10", "im11"]
    texts = dict(zip(found.ids, found.texts, strict=True))
    assert (texts["im1"], texts["im41"], texts["im45"]) == (("sky cat rare",), ("été",), ())
    assert (found.text, found.name) == (None, "mine")
    assert "order of the CLIP line's script" in found.notes[0]


def test_mirflickr_all_and_relevant(tmp_path):
    root = put_mirflickr(tmp_path)
    found = readers.read("mirflickr25k", root / "mirflickr", subset="all", labels="relevant")
    assert len(found) == N
    assert (found.labels[:15] == np.eye(15, 14)).all()
    assert found.class_names == tuple(POTENTIAL[:14])
    elsewhere = tmp_path / "elsewhere"
    (root / "mirflickr25k_annotations_v080").rename(elsewhere)
    with pytest.raises(FileNotFoundError, match="mirflickr25k: no such folder: .*give annotations=FOLDER"):
        readers.read("mirflickr25k", root)
    found = readers.read("mirflickr25k", root, subset="all", annotations=str(elsewhere))
    assert len(found) == N


def test_mirflickr_files_that_are_not_as_they_should_be(tmp_path, monkeypatch):
    root = put_mirflickr(tmp_path)
    notes = root / "mirflickr25k_annotations_v080"

    def refused(line, **options):
        with pytest.raises((ValueError, FileNotFoundError), match=line):
            readers.read("mirflickr25k", root, **options)

    refused("subset must be one of tagged, labelled, all, got 'some'", subset="some")
    refused("labels must be one of potential, relevant, got 24", labels=24)
    monkeypatch.setattr(mirflickr25k, "_ALL", N)
    refused("meta/tags: expected 1386 tags that 20 pictures or more have, found 2")
    refused("annotations_v080: expected 24581 pairs of subset=labelled, found 44", subset="labelled")
    monkeypatch.undo()
    (notes / "sky.txt").write_text("3\n999\n")
    refused("sky.txt:2 must be the number of a picture that has a tags file, got '999'")
    (notes / "sky.txt").unlink()
    refused(r"annotations_v080: expected 24 files \*.txt without _r1, found 23")
    refused("annotations: no such folder: /nowhere", annotations="/nowhere")
    with pytest.raises(FileNotFoundError, match="mirflickr25k: no such file: .*tags1.txt, nor in tags, "):
        readers.read("mirflickr25k", notes)


IDS = [str(2124494179 + 7 * i) for i in range(30)]
PATHS = [f"actor\\{i:04d}_{name}.jpg" for i, name in enumerate(IDS)]
RANDOM = np.random.default_rng(1)
BAG = RANDOM.random((30, 1000)) < 0.002
BAG[:3] = False
CONCEPTS = {name: (np.arange(30) % 29 == i).astype(int) for i, name in enumerate([*nus_wide.TOP21, "airport", "zebra"])}


def put_nus_wide(root):
    """30 pictures; picture k has concept k modulo 29, so that some have none of the 21; common words are word0 ..."""
    for name in ("ImageList", "Groundtruth/AllLabels", "NUS_WID_Tags"):
        (root / name).mkdir(parents=True)
    (root / "ImageList" / "Imagelist.txt").write_text("".join(f"{path} \r\n" for path in PATHS))
    for concept, marks in CONCEPTS.items():
        (root / "Groundtruth" / "AllLabels" / f"Labels_{concept}.txt").write_text(
            "".join(f"{mark}\n" for mark in marks)
        )
    rows = ("\t".join("01"[mark] for mark in row) + "\t\n" for row in BAG.astype(int))
    (root / "NUS_WID_Tags" / "AllTags1k.txt").write_text("".join(rows))
    (root / "NUS_WID_Tags" / "TagList1k.txt").write_text("".join(f"word{i}\n" for i in range(1000)))
    raw = (f"{name}      raw{i} café\n" if i != 2 else f"{name}\n" for i, name in enumerate(IDS))
    (root / "NUS_WID_Tags" / "All_Tags.txt").write_text("".join(raw), encoding="utf-8")
    (root / "Flickr").mkdir()
    return root


@pytest.mark.parametrize("top", ["21", 10])
def test_nus_wide(top, tmp_path, monkeypatch):
    monkeypatch.setattr(nus_wide, "_CHUNK", 4321)  # pieces that end inside lines
    root = put_nus_wide(tmp_path)
    assert readers.detect(root) == "nus_wide"
    found = readers.read("nus_wide", root, top=top)
    names = nus_wide.TOP21 if top == "21" else nus_wide.TOP10
    labels = np.stack([CONCEPTS[name] for name in names], axis=1)
    kept = np.flatnonzero(labels.any(axis=1))
    assert (found.labels == labels[kept]).all()
    assert found.class_names == names
    assert found.ids == [f"{i:04d}_{IDS[i]}" for i in kept]
    assert (found.text == BAG[kept]).all()
    assert found.texts == [(f"raw{i} café",) if i != 2 else () for i in kept]
    assert found.pictures[0].path == root / "Flickr" / "actor" / f"{kept[0]:04d}_{IDS[kept[0]]}.jpg"
    assert found.where[0] == f"Imagelist.txt:{kept[0] + 1}"


def test_nus_wide_tagged_with_common_words(tmp_path):
    root = put_nus_wide(tmp_path / "NUS-WIDE").parent  # one folder above
    found = readers.read("nus_wide", root, subset="tagged", texts="common", pictures=str(tmp_path))
    labels = np.stack([CONCEPTS[name] for name in nus_wide.TOP21], axis=1)
    kept = np.flatnonzero(labels.any(axis=1) & BAG.any(axis=1))
    assert 0 not in kept
    assert len(found) == len(kept)
    assert found.texts == [(" ".join(f"word{j}" for j in np.flatnonzero(BAG[i])),) for i in kept]
    assert found.pictures[0].path == tmp_path / "actor" / f"{kept[0]:04d}_{IDS[kept[0]]}.jpg"
    whole = readers.read("nus_wide", root, subset="all")
    assert (len(whole), whole.splits) == (30, {})


def test_nus_wide_own_training_and_test_lists(tmp_path):
    root = put_nus_wide(tmp_path)
    (root / "ImageList" / "TrainImagelist.txt").write_text("\n".join(PATHS[10:]))
    (root / "ImageList" / "TestImagelist.txt").write_text("\n".join(PATHS[:10]))
    split = readers.read("nus_wide", root, subset="all").splits["given"]
    assert (split.query.tolist(), split.train.tolist()) == (list(range(10)), list(range(10, 30)))
    assert (split.database == split.train).all()


def test_nus_wide_files_that_are_not_as_they_should_be(tmp_path, monkeypatch):
    root = put_nus_wide(tmp_path)

    def refused(line, **options):
        with pytest.raises((ValueError, FileNotFoundError), match=line):
            readers.read("nus_wide", root, **options)

    def changed(name, text, line, **options):
        before = (root / name).read_bytes()
        if text is None:
            (root / name).unlink()
        else:
            (root / name).write_text(text)
        refused(line, **options)
        (root / name).write_bytes(before)

    refused("top must be one of 81, 21, 10, got 5", top=5)
    refused("AllLabels: expected 81 files Labels_.*txt, found 23", top=81)
    monkeypatch.setattr(nus_wide, "ALL", 30)
    refused("AllLabels: expected 195834 pairs of top=21, subset=labelled, found 22")
    monkeypatch.undo()
    labels, tags = "Groundtruth/AllLabels/Labels_sky.txt", "NUS_WID_Tags/AllTags1k.txt"
    changed(labels, "0\n" * 29, "Labels_sky.txt: expected 30 lines like Imagelist.txt, found 29")
    changed(labels, "0\n" * 28 + "7\n0\n", "Labels_sky.txt:29 must be 0 or 1")
    changed(labels, None, "no such file: .*Labels_sky.txt")
    row = "0\t" * 1000 + "\n"
    changed(tags, row * 29, "AllTags1k.txt: expected 30 lines like Imagelist.txt, found 29")
    changed(tags, row * 31, "AllTags1k.txt: expected 30 lines like Imagelist.txt, found more")
    changed(tags, row[2:] + row * 29, "expected 1000 marks of 0 or 1 a line, found others in lines 1 to 30")
    changed(tags, None, "no such file: .*AllTags1k.txt: subset=tagged needs it", subset="tagged")
    changed(tags, None, "texts=common needs AllTags1k.txt and TagList1k.txt", texts="common")
    raw = (root / "NUS_WID_Tags" / "All_Tags.txt").read_text(encoding="utf-8").splitlines()
    line = f"All_Tags.txt:5 is out of step: it is of photo {IDS[5]}, the list says 0004_{IDS[4]}"
    changed("NUS_WID_Tags/All_Tags.txt", "\n".join(raw[:4] + raw[5:]), line)
    changed("NUS_WID_Tags/All_Tags.txt", "\n".join(raw[:-1]), "expected 30 lines like the list, found 29")
    changed("NUS_WID_Tags/All_Tags.txt", "\n".join([*raw, "12 more"]), "of photo 12, the list says no line after 30")
    changed("ImageList/Imagelist.txt", None, "nus_wide: no such file: .*Imagelist.txt")


def put_coco(root, parts, categories):
    """parts: title -> list of (file name, captions, category ids)."""
    (root / "annotations").mkdir(parents=True)
    number = 100
    for title, photos in parts.items():
        images, objects, captions = [], [], []
        for name, texts, found in photos:
            number += 3
            images.append({"id": number, "file_name": name})
            objects += [{"image_id": number, "category_id": one} for one in [*found, *found[:1]]]  # two of the first
            captions += [{"image_id": number, "caption": text} for text in texts]
        content = {"images": images, "annotations": objects[::-1], "categories": categories}
        (root / "annotations" / f"instances_{title}.json").write_text(json.dumps(content))
        content = {"images": images, "annotations": captions}
        (root / "annotations" / f"captions_{title}.json").write_text(json.dumps(content))
    return root


CATS = [
    {"id": 90, "name": "toothbrush"},
    {"id": 1, "name": "person", "supercategory": "person"},
    {"id": 3, "name": "car"},
]
PHOTOS = {
    "val2017": [("000001.jpg", ["a man.\n", "one  man"], [1, 90])],
    "train2017": [("000007.jpg", ["a road"], [3]), ("000003.jpg", ["nothing"], []), ("000009.jpg", [], [90, 3])],
}


def test_coco(tmp_path):
    root = put_coco(tmp_path, PHOTOS, CATS)
    assert readers.detect(root) == readers.detect(root / "annotations") == "coco"
    (root / "train2017").mkdir()
    with zipfile.ZipFile(root / "val2017.zip", "w") as archive:
        archive.writestr("val2017/000001.jpg", b"")
    found = readers.read("coco", root)
    assert found.ids == [
        "000007.jpg",
        "000009.jpg",
        "000001.jpg",
    ]  # training first, no photo without objects
    assert found.class_names == ("person", "car", "toothbrush")
    assert found.labels.tolist() == [[0, 1, 0], [0, 1, 1], [1, 0, 1]]
    assert found.texts == [("a road",), (), ("a man.", "one man")]
    paths = [(picture.path, picture.member) for picture in found.pictures]
    assert paths[0] == (root / "train2017" / "000007.jpg", None)
    assert paths[2] == (root / "val2017.zip", "val2017/000001.jpg")
    assert found.where[0] == "instances_train2017.json:106"
    assert found.notes == ("supercategories are no layer: a photo has objects of several",)
    whole = readers.read("coco", root, subset="all", parts="train2017", pictures=str(root / "train2017"))
    assert len(whole) == 3
    assert readers.read("coco", root, parts="val2017").ids == ["000001.jpg"]


def test_coco_files_that_are_not_as_they_should_be(tmp_path, monkeypatch):
    root = put_coco(tmp_path, PHOTOS, CATS)
    notes = root / "annotations"

    def refused(line, **options):
        with pytest.raises((ValueError, FileNotFoundError), match=line) as error:
            readers.read("coco", root, **options)
        assert "\n" not in str(error.value)

    def changed(name, change, line):
        before = (notes / name).read_text()
        content = json.loads(before)
        change(content)
        (notes / name).write_text(json.dumps(content))
        refused(line)
        (notes / name).write_text(before)

    refused("no such file: .*instances_test2017.json", parts="test2017")
    refused("parts must be some of train2017, val2017, got ','", parts=",")
    refused("subset must be one of labelled, all, got 'some'", subset="some")
    monkeypatch.setattr(coco, "ALL", 4)
    refused("annotations: expected 122218 pairs with a label of 4, found 3")
    monkeypatch.undo()
    val = "instances_val2017.json"
    changed(val, lambda c: c.pop("images"), f"{val} must have a list 'images'")
    changed(val, lambda c: c["categories"].pop(), f"{val}: expected the 3 categories of the part before, found others")
    changed(val, lambda c: c["categories"][0].pop("name"), f"{val}: each of categories must have id and name")
    changed(val, lambda c: c["annotations"][0].update(category_id=7), f"{val}: an entry lacks a field or names an unk")
    changed(val, lambda c: c["annotations"][0].update(image_id=5), f"{val}: image_id 5 is none of images in {val}")
    captions = "captions_val2017.json"
    changed(captions, lambda c: c["annotations"][0].pop("caption"), f"{captions}: an entry lacks a field")
    changed(captions, lambda c: c["annotations"][0].update(image_id=5), f"{captions}: image_id 5 is none of images")
    whole = (notes / val).read_bytes()
    (notes / val).write_bytes(whole[:-20])
    refused(f"{val} is damaged or no JSON: ")
    (notes / val).write_bytes(whole)
    (notes / captions).unlink()
    assert len(readers.read("coco", root)) == 2  # a part without captions is no part
    refused("no such file: .*captions_val2017.json", parts="val2017")


def test_real_coco_photos_in_the_layout_of_coco(tmp_path):
    """coco_mini is a part of MS COCO: written as its JSON files, it reads as load("coco_mini") gives it."""
    data = os.environ.get("FASTHASH_DATA")
    if not data:
        pytest.skip("FASTHASH_DATA is not set")
    with open(os.path.join(data, "coco_mini", "coco_mini.json"), encoding="utf-8") as file:
        content = json.load(file)
    parts = {"train2017": [], "val2017": []}
    for row in content["images"]:
        part = "val2017" if row["split"] == "val" else "train2017"
        parts[part].append((row["file_name"], row["captions"], row["category_ids"]))
    found = readers.read("coco", put_coco(tmp_path, parts, content["categories"][::-1]))
    own = load("coco_mini")
    row = {name: i for i, name in enumerate(own.ids)}
    order = [row[name] for name in found.ids]
    assert sorted(order) == list(range(len(own)))
    assert (found.labels == own.labels[order]).all()
    assert found.class_names == own.class_names
    assert [" ".join(texts) for texts in found.texts] == [" ".join(own.texts[i].split()) for i in order]


def put_mith(root, coco=False):
    (root / "Concepts").mkdir(parents=True)
    (root / "all_imgs.txt").write_text("mirflickr/im1.jpg\nmirflickr/im5.jpg\nmirflickr/im3.jpg\n")
    if coco:
        (root / "all_txts.txt").write_text("A cat.;Two cats \nA dog.\n;\n")
    else:
        (root / "all_tags.txt").write_text("red,sun dress\nsky\nred,sky\n")
    (root / "Concepts" / "TagList.txt").write_text("sky\nred\nsun dress\n")
    (root / "all_labels.txt").write_text("1.000000000000000000e+00 0 0.0\n0 0 0\n0 1 1.0\n")
    return root


def test_mith_lists(tmp_path):
    root = put_mith(tmp_path)
    assert readers.detect(root) == "mith_lists"
    found = readers.read("mith_lists", root, name="mine")
    assert found.ids == ["im1.jpg", "im3.jpg"]
    assert found.labels.tolist() == [[1, 0, 0], [0, 1, 1]]
    assert found.texts == [("red sun dress",), ("red sky",)]
    assert found.text.tolist() == [[0, 1, 1], [1, 1, 0]]
    assert found.pictures[1].path == root / "im3.jpg"
    (root / "mirflickr").mkdir()
    (root / "mirflickr" / "im1.jpg").touch()
    assert readers.read("mith_lists", root, pictures=str(root)).pictures[1].path == root / "mirflickr" / "im3.jpg"
    assert len(readers.read("mith_lists", root, subset="all")) == 3
    sentences = readers.read("mith_lists", put_mith(tmp_path / "coco", coco=True), subset="all")
    assert (sentences.texts, sentences.text) == ([("A cat.", "Two cats"), ("A dog.",), ()], None)


def test_mith_lists_out_of_step(tmp_path):
    root = put_mith(tmp_path)
    for name, text, line in (
        ("all_tags.txt", "red\nsky\n", "all_tags.txt must have 3 lines like all_imgs.txt, got 2"),
        ("all_tags.txt", "red\nblue\nsky\n", "all_tags.txt:2: the tag 'blue' is not in TagList.txt"),
        ("all_labels.txt", "1 0\n0 1\n", "all_labels.txt must have 3 lines like all_imgs.txt, got 2"),
        ("all_labels.txt", "1 0\n0 1 1\n1 1\n", "all_labels.txt:2 must be 2 marks of 0 or 1, got '0 1 1'"),
        ("all_labels.txt", "1 0\n0 1\n3 x\n", "all_labels.txt:3 must be 2 marks of 0 or 1, got '3 x'"),
    ):
        before = (root / name).read_text()
        (root / name).write_text(text)
        with pytest.raises(ValueError, match=line):
            readers.read("mith_lists", root)
        (root / name).write_text(before)
    (root / "all_tags.txt").unlink()
    with pytest.raises(FileNotFoundError, match="mith_lists: no such file: .*all_tags.txt"):
        readers.read("mith_lists", root)
