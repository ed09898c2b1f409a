"""Arrays in the layouts of DCMH, SSAH, HiCHNet, the CLIP line, the shallow methods: small files, and bad ones."""

import json
import os
import shutil

import h5py
import numpy as np
import pytest
import scipy.io
from matlab_files import as_cells, save_cells73, save_mat73
from PIL import Image

from fasthash.data import load, readers

RANDOM = np.random.default_rng(0)
N = 12
LABELS = np.eye(5, dtype=np.uint8)[np.arange(N) % 5] | (RANDOM.random((N, 5)) < 0.2)
TAGS = (RANDOM.random((N, 7)) < 0.4).astype(np.uint8)
FEATURES = RANDOM.random((N, 4)).astype(np.float32)
NAMES = [f"im{i}.jpg" for i in range(1, N + 1)]
PICTURES = RANDOM.integers(0, 256, (N, 6, 8, 3), dtype=np.uint8)  # [n, h, w, 3]


def put_dcmh(root, version="5"):
    """mirflickr25k-fall.mat, -yall.mat, -lall.mat, -iall.mat, each in its folder; the pictures are of version 7.3."""
    for title, name, values in (("yall", "YAll", TAGS), ("lall", "LAll", LABELS), ("fall", "FAll", NAMES)):
        path = root / name / f"mirflickr25k-{title}.mat"
        path.parent.mkdir(parents=True)
        if version == "5":
            scipy.io.savemat(path, {name: as_cells(values) if name == "FAll" else values.astype(float)})
        else:
            (save_cells73 if name == "FAll" else save_mat73)(path, {name: values})
    (root / "IAll").mkdir()
    save_mat73(root / "IAll" / "mirflickr25k-iall.mat", {"IAll": PICTURES.transpose(1, 2, 3, 0)})
    return root


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_dcmh_separate_files(version, tmp_path):
    root = put_dcmh(tmp_path / "flickr", version)
    assert readers.detect(root) == "dcmh"
    found = readers.read("dcmh", root)
    assert (found.labels == LABELS).all()
    assert (found.text == TAGS).all()
    assert found.ids == NAMES
    assert (found.pictures, found.image, found.text_features) == (None, None, "bow")
    assert found.notes == (
        "the pictures inside mirflickr25k-iall.mat:IAll are left out: export=FOLDER writes them as files",
    )
    assert found.name == "flickr"


def test_dcmh_finds_named_pictures(tmp_path):
    root = put_dcmh(tmp_path)
    (root / "mirflickr").mkdir()
    (root / "mirflickr" / "im1.jpg").touch()
    found = readers.read("dcmh", root, name="mine")
    assert [picture.path for picture in found.pictures] == [root / "mirflickr" / name for name in NAMES]
    elsewhere = readers.read("dcmh", root, pictures=str(tmp_path))
    assert elsewhere.pictures[2].path == tmp_path / "im3.jpg"
    with pytest.raises(FileNotFoundError, match="dcmh: pictures: no such folder: /nowhere"):
        readers.read("dcmh", root, pictures="/nowhere")


ORDERS = {"nchw": (0, 3, 1, 2), "nhwc": (0, 1, 2, 3), "hwcn": (1, 2, 3, 0)}


@pytest.mark.parametrize("kind", [".mat", ".73.mat", ".h5"])
@pytest.mark.parametrize("axes", ORDERS)
def test_one_file_either_way_round(kind, axes, tmp_path):
    """images, tags, labels in one file; tags and labels lie in columns where pictures lie in MATLAB's order."""
    path = tmp_path / f"FLICKR-25K{kind}"
    turn = np.transpose if axes == "hwcn" else np.asarray
    arrays = {"images": PICTURES.transpose(ORDERS[axes]), "tags": turn(TAGS), "labels": turn(LABELS)}
    if kind == ".h5":
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file[name] = values
    else:
        (save_mat73 if "73" in kind else scipy.io.savemat)(path, arrays)
    assert readers.detect(path) == readers.detect(tmp_path) == "dcmh"
    seen = []
    found = readers.read("dcmh", path, export=tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    assert (found.labels == LABELS).all()
    assert (found.text == TAGS).all()
    assert [np.asarray(picture.open()).tolist() for picture in found.pictures] == PICTURES.tolist()
    assert seen == [(N, N)]
    assert found.pictures[3].path.name == "03.png"


def test_export_writes_once_and_never_over_another_array(tmp_path):
    root = put_dcmh(tmp_path / "a")
    out = tmp_path / "out"
    found = readers.read("dcmh", root, export=str(out))
    assert [picture.path.name for picture in found.pictures] == [f"im{i}.png" for i in range(1, N + 1)]
    Image.new("RGB", (1, 1)).save(out / "im2.png")
    (out / "im3.png").unlink()
    again = readers.read("dcmh", root, export=str(out))
    assert again.pictures[1].open().size == (1, 1)  # what is there is taken as it is
    assert again.pictures[2].open().size == (8, 6)
    save_mat73(root / "IAll" / "mirflickr25k-iall.mat", {"IAll": PICTURES[:, :5].transpose(1, 2, 3, 0)})
    with pytest.raises(
        ValueError, match="dcmh: export: .*out holds the pictures of another array: name another folder"
    ):
        readers.read("dcmh", root, export=str(out))
    assert json.loads((out / "pictures.json").read_text())["shape"] == [6, 8, 3, N]


def test_pictures_that_are_no_bytes(tmp_path):
    arrays = {"tags": TAGS, "labels": LABELS.astype(float), "images": PICTURES.astype(np.float32)}
    save_mat73(tmp_path / "x.mat", arrays)
    found = readers.read("dcmh", tmp_path / "x.mat", export=tmp_path / "out")
    assert (np.asarray(found.pictures[5].open()) == PICTURES[5]).all()
    save_mat73(tmp_path / "y.mat", arrays | {"images": PICTURES / 255.0})
    with pytest.raises(
        ValueError, match="y.mat:images: pictures must be whole numbers from 0 to 255, got float64 from"
    ):
        readers.read("dcmh", tmp_path / "y.mat", export=tmp_path / "other")


def test_cnn_features_and_names_of_torchcmh(tmp_path):
    """XAll [n, 4096]; imgList.mat, tagList.mat, labelList.mat, where a path is folder and name."""
    scipy.io.savemat(tmp_path / "imgList.mat", {"imgs": np.array([["actor ", name] for name in NAMES])})
    scipy.io.savemat(tmp_path / "tagList.mat", {"tags": TAGS})
    scipy.io.savemat(tmp_path / "labelList.mat", {"labels": LABELS})
    scipy.io.savemat(tmp_path / "cnn.mat", {"XAll": FEATURES.T})
    found = readers.read("dcmh", tmp_path)
    assert found.ids == [f"actor/{name}" for name in NAMES]
    assert (found.image == FEATURES).all()
    assert found.image_features == "xall"


def test_sizes_name_the_data_set(tmp_path):
    labels = np.zeros((20000, 255), np.uint8)
    save_mat73(tmp_path / "iapr.mat", {"YAll": np.zeros((20000, 3), np.uint8), "LAll": labels})
    found = readers.read("dcmh", tmp_path / "iapr.mat")
    assert (found.name, len(found), len(found.class_names)) == ("iapr_tc12", 20000, 255)


def test_dcmh_arrays_that_do_not_fit(tmp_path):
    def refused(arrays, line, **options):
        scipy.io.savemat(tmp_path / "x.mat", arrays)
        with pytest.raises((ValueError, FileNotFoundError), match=line) as error:
            readers.read("dcmh", tmp_path / "x.mat", **options)
        assert "\n" not in str(error.value)

    refused(
        {"YAll": TAGS[:9], "LAll": LABELS}, r"must have a common number of pairs, got .*LAll \[12, 5\], .* \[9, 7\]"
    )
    refused({"YAll": TAGS, "LAll": LABELS * 2}, r"x.mat:LAll: labels must be 0 and 1, got 2 in row 0, class 0")
    refused({"YAll": TAGS[:, :5], "LAll": LABELS}, "the number of pairs may be 5 or 12: give n ")
    refused({"YAll": TAGS[:, :5], "LAll": LABELS}, "common number of pairs of n=9", n="9")
    refused({"YAll": TAGS, "LAll": np.eye(12)}, "may be either way round: give order=rows or order=columns")
    refused({"YAll": TAGS, "LAll": LABELS}, "order must be one of rows, columns, got 'up'", order="up")
    refused({"YAll": TAGS, "LAll": LABELS}, "n must be a whole number from 1, got '0'", n="0")
    refused({"YAll": TAGS, "LAll": LABELS}, "export is of pictures inside an array", export="y")
    refused({"YAll": TAGS, "LAll": LABELS}, "pictures needs their names", pictures=str(tmp_path))
    refused({"codes": TAGS}, "has no labels and no tags under a known name")
    refused({"YAll": TAGS, "LAll": LABELS, "tags": TAGS}, "x.mat:YAll and .*x.mat:tags are tags: give tags=FILE:NAME")
    refused({"YAll": TAGS, "LAll": as_cells(NAMES)}, "x.mat:LAll must hold numbers, got text")
    refused({"YAll": TAGS, "LAll": LABELS, "FAll": as_cells(NAMES[:4])}, "x.mat:FAll must hold 12 texts, got 4")
    refused(
        {"YAll": TAGS, "LAll": LABELS},
        "labels must be FILE:NAME, got 'x.mat:no'; .* holds YAll, LAll",
        labels="x.mat:no",
    )
    refused(
        {"YAll": TAGS, "LAll": LABELS, "IAll": np.zeros((3, 12, 3, 3), np.uint8)},
        r"x.mat:IAll is \[3, 12, 3, 3\], which may be an unusual order: give axes",
        export=str(tmp_path / "out"),
    )
    whole = (tmp_path / "x.mat").read_bytes()
    (tmp_path / "x.mat").write_bytes(whole[:300])
    with pytest.raises(ValueError, match="dcmh: .*x.mat is damaged or no .mat file: "):
        readers.read("dcmh", tmp_path / "x.mat")


def test_options_settle_what_shapes_leave_open(tmp_path):
    scipy.io.savemat(tmp_path / "x.mat", {"YAll": TAGS[:, :5], "LAll": LABELS, "other": np.eye(12)})
    found = readers.read("dcmh", tmp_path / "x.mat", n="12")
    assert (found.labels == LABELS).all()
    found = readers.read("dcmh", tmp_path / "x.mat", labels="x.mat:other", order="columns", n=12)
    assert found.labels.shape == (12, 12)
    upright = RANDOM.integers(0, 256, (N, 6, 6, 3), dtype=np.uint8)
    arrays = {"tags": TAGS, "labels": LABELS, "images": upright.transpose(0, 3, 2, 1)}
    with h5py.File(tmp_path / "turned.h5", "w") as file:
        for name, values in arrays.items():
            file[name] = values
    found = readers.read("dcmh", tmp_path / "turned.h5", export=tmp_path / "out", axes="ncwh")
    assert (np.asarray(found.pictures[0].open()) == upright[0]).all()


def put_hichnet(root, coarse=8, fine=27, n=60):
    kinds = np.arange(n) % fine
    labels = np.concatenate([np.eye(coarse)[kinds % coarse], np.eye(fine)[kinds]], axis=1)
    scipy.io.savemat(root / "label.mat", {"Label": labels})
    scipy.io.savemat(root / "tag.mat", {"Tag": np.resize(TAGS, (n, 9))})
    scipy.io.savemat(root / "image.mat", {"Image": np.resize(PICTURES, (n, 4, 5, 3))})
    return kinds, labels


def test_hichnet(tmp_path):
    kinds, labels = put_hichnet(tmp_path)
    assert readers.detect(tmp_path) == "hichnet"
    found = readers.read("hichnet", tmp_path, export=tmp_path / "out")
    assert found.layers["fine"] == [f"fine {i:02d}" for i in kinds]
    assert found.layers["coarse"] == [f"coarse {i % 8:02d}" for i in kinds]
    assert (found.labels, found.text.shape, len(found.pictures)) == (None, (60, 9), 60)
    assert np.asarray(found.pictures[7].open()).shape == (4, 5, 3)
    flat = readers.read("hichnet", tmp_path, layers="no")
    assert (flat.labels == labels).all()
    assert flat.notes == ("the pictures inside image.mat:Image are left out: export=FOLDER writes them as files",)


def test_hichnet_files_that_do_not_fit(tmp_path):
    put_hichnet(tmp_path, 5, 8)
    with pytest.raises(ValueError, match="coarse, the number of coarse classes, must be given, got None"):
        readers.read("hichnet", tmp_path)
    assert len(set(readers.read("hichnet", tmp_path, coarse="5").layers["coarse"])) == 5
    with pytest.raises(ValueError, match="label.mat:Label must have one coarse class a row, got 0 in row .* layers=no"):
        readers.read("hichnet", tmp_path, coarse=4)
    labels = scipy.io.loadmat(tmp_path / "label.mat")["Label"]
    labels[0, :5] = labels[1, :5]
    scipy.io.savemat(tmp_path / "label.mat", {"Label": labels})
    with pytest.raises(ValueError, match="Label: fine class 0 must lie in one coarse class, got "):
        readers.read("hichnet", tmp_path, coarse=5)
    scipy.io.savemat(tmp_path / "tag.mat", {"Tag": TAGS[:7]})
    with pytest.raises(ValueError, match=r"tag.mat:Tag must be \[60, width\] or \[width, 60\], got \[7, 7\]"):
        readers.read("hichnet", tmp_path, coarse=5)
    (tmp_path / "image.mat").unlink()
    with pytest.raises((ValueError, FileNotFoundError)):
        readers.read("hichnet", tmp_path, coarse=5, export="out")


def put_clip(root, captions, key="category", text=False):
    paths = [f"/home/somebody/dataset/mirflickr/{name}" for name in NAMES]
    scipy.io.savemat(root / "index.mat", {"index": paths})
    scipy.io.savemat(root / "label.mat", {key: LABELS})
    if text:
        (root / "caption.txt").write_text("".join(f"{line}\n" for line in captions), encoding="utf-8")
    else:
        scipy.io.savemat(root / "caption.mat", {"caption": captions})
    return paths


FIVE = [[f"a cat {i}", f"one more cat {i}"] for i in range(N)]


@pytest.mark.parametrize("form", ["nested", "cells", "row", "plain", "txt"])
def test_clip_line(form, tmp_path):
    captions = {
        "nested": FIVE,  # a list of lists, of one length each
        "cells": as_cells([tuple(row) if i else () for i, row in enumerate(FIVE)]),
        "row": as_cells([tuple(row) for row in FIVE]).T,
        "plain": np.array([row[0] for row in FIVE]),  # MITH
        "txt": [row[0] for row in FIVE[:-1]] + ["123456"],
    }[form]
    paths = put_clip(tmp_path, captions, "label" if form == "plain" else "category", text=form == "txt")
    assert readers.detect(tmp_path) == "clip_line"
    found = readers.read("clip_line", tmp_path)
    assert (found.labels == LABELS).all()
    assert found.ids == NAMES
    assert [str(picture) for picture in found.pictures] == paths
    whole = [tuple(row) for row in FIVE] if form in ("nested", "cells", "row") else [(row[0],) for row in FIVE]
    if form == "cells":
        whole[0] = ()
    if form == "txt":
        whole[-1] = ("123456",)
        assert found.notes == ("1 captions are 123456, which stands for no tags",)
    assert found.texts == whole


def test_clip_line_pictures_of_this_machine(tmp_path):
    put_clip(tmp_path, FIVE)
    scipy.io.savemat(tmp_path / "caption_one_hot.mat", {"caption_one_hot": TAGS})
    (tmp_path / "mirflickr").mkdir()
    (tmp_path / "mirflickr" / "im1.jpg").touch()
    found = readers.read("clip_line", tmp_path, pictures=str(tmp_path))
    assert [picture.path for picture in found.pictures] == [tmp_path / "mirflickr" / name for name in NAMES]
    assert (found.text == TAGS).all()
    inside = readers.read("clip_line", tmp_path, pictures=str(tmp_path / "mirflickr"))
    assert [picture.path for picture in inside.pictures] == [picture.path for picture in found.pictures]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="clip_line: pictures: .*empty has no end of the path /home/somebody"):
        readers.read("clip_line", tmp_path, pictures=str(tmp_path / "empty"))


def test_clip_line_files_out_of_step(tmp_path):
    put_clip(tmp_path, FIVE[:-1])
    with pytest.raises(ValueError, match="clip_line: .*caption.mat:caption must hold 12 texts, got 11"):
        readers.read("clip_line", tmp_path)
    (tmp_path / "caption.mat").unlink()
    put_clip(tmp_path, ["a", "b"], text=True)
    with pytest.raises(ValueError, match="caption.txt must have 12 lines like index.mat, got 2"):
        readers.read("clip_line", tmp_path)
    scipy.io.savemat(tmp_path / "label.mat", {"labels": LABELS})
    with pytest.raises(ValueError, match="label.mat must hold category or label, got labels"):
        readers.read("clip_line", tmp_path)
    scipy.io.savemat(tmp_path / "label.mat", {"label": LABELS[:7]})
    with pytest.raises(ValueError, match=r"label.mat:label must be \[12, width\] or \[width, 12\], got \[7, 5\]"):
        readers.read("clip_line", tmp_path)


def parts(**more):
    return {"I_tr": FEATURES[:8], "T_tr": TAGS[:8], "I_te": FEATURES[8:], "T_te": TAGS[8:], **more}


def test_arrays_in_training_and_test_parts(tmp_path):
    path = tmp_path / "mir_cnn.mat"
    scipy.io.savemat(path, parts(L_tr=LABELS[:8], L_te=LABELS[8:]))
    assert readers.detect(path) == readers.detect(tmp_path) == "train_test"
    found = readers.read("train_test", tmp_path)
    assert (found.image == FEATURES).all()
    assert (found.text == TAGS).all()
    assert (found.labels == LABELS).all()
    split = found.splits["given"]
    assert (split.query.tolist(), split.train.tolist()) == ([8, 9, 10, 11], list(range(8)))
    assert split.database.tolist() == list(range(8))
    ids = np.arange(N) % 3 + 1
    scipy.io.savemat(path, parts(L_tr=ids[:8], L_te=ids[8:].reshape(-1, 1)))
    assert (readers.read("train_test", path).labels == np.eye(3)[ids - 1]).all()


def test_a_database_part_holds_the_training_rows(tmp_path):
    path = tmp_path / "mir_cnn.mat"
    arrays = {"I_db": FEATURES[:8], "T_db": TAGS[:8], "L_db": LABELS[:8], "L_te": LABELS[8:], "L_tr": LABELS[2:6]}
    scipy.io.savemat(path, parts(**arrays) | {"I_tr": FEATURES[2:6], "T_tr": TAGS[2:6]})
    found = readers.read("train_test", path)
    split = found.splits["given"]
    assert (len(found), split.train.tolist()) == (N, [2, 3, 4, 5])
    assert (split.query.tolist(), split.database.tolist()) == ([8, 9, 10, 11], list(range(8)))
    assert (found.labels == LABELS).all()


def test_parts_that_do_not_fit(tmp_path):
    path = tmp_path / "x.mat"
    for change, line in {
        "T_te": "x.mat:T_te must have 4 rows like I_te",
        "L_te": "x.mat:L_te must have 4 rows like I_te",
    }.items():
        arrays = parts(L_tr=LABELS[:8], L_te=LABELS[8:])
        scipy.io.savemat(path, arrays | {change: arrays[change][1:]})
        with pytest.raises(ValueError, match=line):
            readers.read("train_test", path)
    scipy.io.savemat(path, parts() | {"I_te": FEATURES[8:, 1:]})
    with pytest.raises(ValueError, match=r"x.mat:I_te must be \[n, 4\] numbers, got \[4, 3\]"):
        readers.read("train_test", path)
    scipy.io.savemat(path, parts(L_tr=LABELS[:8] * 3, L_te=LABELS[8:]))
    with pytest.raises(ValueError, match="L must hold 0 and 1, or class numbers in one column"):
        readers.read("train_test", path)
    scipy.io.savemat(path, parts(L_tr=np.full((8, 1), 0.5), L_te=np.ones((4, 1))))
    with pytest.raises(ValueError, match="L in one column must hold class numbers from 0, got 0.5"):
        readers.read("train_test", path)
    with pytest.raises(ValueError, match="train_test: .* has no file with the arrays I_tr, T_tr, I_te, T_te"):
        readers.read("train_test", tmp_path / "..")


@pytest.fixture
def wiki():
    root = os.environ.get("FASTHASH_DATA")
    if not root:
        pytest.skip("FASTHASH_DATA is not set")
    return os.path.join(root, "wiki")


def test_real_wiki_is_what_load_gives(wiki):
    found, own = readers.read("wiki", wiki), load("wiki")
    assert readers.detect(wiki) == "wiki"
    assert (found.image == own.image).all()
    assert (found.text == own.text).all()
    assert (found.labels == own.labels).all()
    assert (tuple(found.ids), found.class_names, found.name) == (own.ids, own.class_names, "wiki")
    for part in ("query", "database", "train"):
        assert (getattr(found.splits["given"], part) == getattr(own.split, part)).all()
    assert (found.where[0], found.where[2173]) == ("trainset_txt_img_cat.list:1", "testset_txt_img_cat.list:1")


def test_real_training_and_test_parts(wiki):
    """Two views of digits, with class numbers from 1."""
    root = os.path.join(os.path.dirname(wiki), "uci_mfeat_2view")
    assert readers.detect(root) == "train_test"
    found, own = readers.read("train_test", root), load("uci_mfeat_2view")
    assert (found.image.astype(np.float32) == own.image).all()
    assert (found.text.astype(np.float32) == own.text).all()
    assert (found.labels == own.labels).all()
    for part in ("query", "database", "train"):
        assert (getattr(found.splits["given"], part) == getattr(own.split, part)).all()
    assert readers.detect(os.path.join(wiki, "raw_features.mat")) == "train_test"  # without its lists


def test_wiki_lists_out_of_step(wiki, tmp_path):
    for name in ("raw_features.mat", "trainset_txt_img_cat.list", "testset_txt_img_cat.list", "categories.list"):
        shutil.copyfile(os.path.join(wiki, name), tmp_path / name)
    (tmp_path / "images").mkdir()
    found = readers.read("wiki", tmp_path)
    document, picture, kind = (tmp_path / "trainset_txt_img_cat.list").read_text().split()[:3]
    assert found.ids[0] == document
    assert found.pictures[0].path == tmp_path / "images" / found.class_names[int(kind) - 1] / f"{picture}.jpg"
    listed = tmp_path / "testset_txt_img_cat.list"
    rows = listed.read_text().splitlines()
    listed.write_text("\n".join(rows[:-1]) + "\n")
    with pytest.raises(
        ValueError, match="raw_features.mat:I_te must have 692 rows like testset_txt_img_cat.list, got 693"
    ):
        readers.read("wiki", tmp_path)
    listed.write_text("\n".join([*rows[:-1], "a b zero"]) + "\n")
    with pytest.raises(
        ValueError, match="testset_txt_img_cat.list:693 must be document, picture and class from 1, got "
    ):
        readers.read("wiki", tmp_path)
    (tmp_path / "categories.list").write_text("art\n")
    listed.write_text("\n".join(rows) + "\n")
    with pytest.raises(ValueError, match="categories.list must name 10 classes like the lists, got 1"):
        readers.read("wiki", tmp_path)


def test_names_of_pictures_settle_the_number_of_pairs(tmp_path):
    scipy.io.savemat(tmp_path / "x.mat", {"YAll": TAGS[:, :5], "LAll": LABELS, "FAll": as_cells(NAMES)})
    assert (readers.read("dcmh", tmp_path / "x.mat").labels == LABELS).all()
