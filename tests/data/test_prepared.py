"""A prepared folder gives back what was written, notices what was changed, and is whole or not there."""

import errno
import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

import fasthash
from fasthash.data import PairedDataset, Split, load
from fasthash.data.gathered import Gathered
from fasthash.data.prepared import Folder, Skipped, is_prepared, write
from fasthash.features import BagOfWords, Picture
from fasthash.features.matrix_file import write_matrix

pq = pytest.importorskip("pyarrow.parquet")
N = 12


def gathered(tmp_path, **changes):
    rng = np.random.default_rng(0)
    labels = np.zeros((N, 3), np.uint8)
    labels[np.arange(N), np.arange(N) % 3] = 1
    fields = {
        "name": "things", "ids": [f"a{i}" for i in range(N)],
        "pictures": [None if i == 5 else Picture(tmp_path / "photos" / f"{i}.png") for i in range(N)],
        "texts": [(f"thing {i}", f"Ding {i}") if i != 4 else () for i in range(N)],
        "image": rng.standard_normal((N, 5)), "image_features": "net", "labels": labels,
        "class_names": ("red", "green", "blue"), "notes": ("a note",), "source": "made here", "licence": "none",
    }  # fmt: skip
    return Gathered(**(fields | changes))


def splits():
    rows = np.arange(N)
    return {"own": Split(rows[:3], rows[3:], rows[3:9]), "other": Split(rows[9:], rows[:9], rows[:9])}


@pytest.fixture
def folder(tmp_path):
    return write(gathered(tmp_path), tmp_path / "out", splits=splits(), split_notes={"other": ["drawn"]})


def test_gives_back_what_was_written(folder, tmp_path):
    given = gathered(tmp_path)
    data = load(str(folder.path))
    assert isinstance(data.image, np.memmap)
    np.testing.assert_array_equal(data.image, given.image.astype(np.float32))
    assert data.text is None
    assert list(data.ids) == given.ids
    assert list(data.texts) == [" ".join(captions) for captions in given.texts]
    assert list(load(str(folder.path), captions="first").texts) == [c[0] if c else "" for c in given.texts]
    assert list(data.pictures) == given.pictures
    np.testing.assert_array_equal(data.labels, given.labels)
    assert (data.name, data.class_names, data.notes) == ("things", given.class_names, given.notes)
    assert load(str(folder.path), split="other").notes == ("a note", "drawn")
    for part in ("query", "database", "train"):
        np.testing.assert_array_equal(getattr(load("things", folder=folder.path, split="other").split, part),
                                      getattr(splits()["other"], part))  # fmt: skip
    assert data.options == {"folder": str(folder.path)}


def test_others_read_its_files(folder):
    """The layout is of formats that any tool opens."""
    table = pq.read_table(folder.path / "items.parquet").to_pylist()
    assert table[3]["id"] == "a3"
    assert table[3]["captions"] == ["thing 3", "Ding 3"]
    assert table[4]["captions"] == []
    assert load_file(folder.path / "features/image/net.safetensors")["features"].shape == (N, 5)
    assert load_file(folder.path / "splits/own.safetensors")["query"].tolist() == [0, 1, 2]
    assert json.loads((folder.path / "dataset.json").read_text())["rows"] == N


def test_label_tree(tmp_path):
    layers = {"coarse": ["x", "x", "y"] * 4, "fine": ["x1", "x2", "y1"] * 4}
    given = gathered(tmp_path, labels=None, class_names=(), layers=layers)
    data = load(str(write(given, tmp_path / "out", splits=splits()).path))
    assert [layer.classes for layer in data.tree.layers] == [("x", "y"), ("x1", "x2", "y1")]
    assert [data.tree.layers[1].classes[i] for i in data.tree.layers[1].ids] == layers["fine"]


def test_lazy_columns_behave_as_tuples(folder, tmp_path):
    column, truth = folder.items.ids, [f"a{i}" for i in range(N)]
    assert len(column) == N
    assert column[-1] == truth[-1]
    assert list(column) == truth
    for part in (slice(None), slice(2, 7), slice(None, None, -2), slice(7, 2), slice(-3, None)):
        assert list(column[part]) == truth[part]
    for row in (N, -N - 1):
        with pytest.raises(IndexError, match=f"from 0 to {N - 1}, got {row}"):
            column[row]
    assert "a7" in column
    assert column.index("a7") == 7


def test_pictures_inside_move_with_the_folder(tmp_path):
    inside = tmp_path / "out" / "pictures"
    inside.mkdir(parents=True)
    (inside / "0.png").write_bytes(b"0")
    pictures = [Picture(inside / "0.png"), Picture(tmp_path / "photos.zip", "b/1.png"), *[None] * (N - 2)]
    write(gathered(tmp_path, pictures=pictures), tmp_path / "out", splits=splits())
    shutil.move(tmp_path / "out", tmp_path / "elsewhere")
    found = load(str(tmp_path / "elsewhere")).pictures
    assert found[0].read() == b"0"
    assert found[0].path == tmp_path / "elsewhere" / "pictures" / "0.png"
    assert found[1] == pictures[1]
    assert found[2] is None


def test_features_are_added_and_chosen(folder, tmp_path):
    texts = [f"thing {i}" for i in range(N)]
    bag = BagOfWords.fit(texts, min_count=1)
    matrix = tmp_path / "m.safetensors"
    write_matrix(matrix, [bag.encode(texts)], N, bag.width)
    folder.add_features("text", "bow", matrix, bag.config(), extractor=bag, fitted_on="own")
    write_matrix(matrix, [np.ones((N, 2))], N, 2)
    folder.add_features("text", "ones", matrix, {"kind": "given"})
    assert not matrix.exists()
    data = load(str(folder.path))
    np.testing.assert_array_equal(data.text, bag.encode(texts))
    np.testing.assert_array_equal(data.text_extractor.encode(["thing 3"]), bag.encode(["thing 3"]))
    assert load(str(folder.path), text="ones").text.shape == (N, 2)
    assert data.checksum() != load(str(folder.path), text="ones").checksum()
    with pytest.raises(ValueError, match="text features bow were fitted on the training rows of split own.*other"):
        load(str(folder.path), split="other")
    assert load(str(folder.path), split="other", text="ones").text_extractor is None
    folder.verify()


def test_an_encoder_that_is_not_known_here_leaves_the_features(folder, tmp_path):
    class Own:
        kind, width = "somebodys_own", 2

        def config(self):
            return {"kind": self.kind}

        def tensors(self):
            return {"table": np.ones(3)}

    matrix = tmp_path / "m.safetensors"
    write_matrix(matrix, [np.ones((N, 2))], N, 2)
    folder.add_features("text", "own", matrix, {"kind": "somebodys_own"}, extractor=Own())
    data = load(str(folder.path))
    assert data.text.shape == (N, 2)
    assert data.text_extractor is None


@pytest.mark.parametrize(
    ("side", "name", "rows", "line"),
    [
        ("sound", "x", N, "side must be image or text, got 'sound'"),
        ("text", "../x", N, "must be letters, digits"),
        ("image", "net", N, "things has image features net already"),
        ("text", "x", N - 1, f"text features x must have {N} rows, got {N - 1}"),
    ],
)
def test_features_that_do_not_fit(folder, tmp_path, side, name, rows, line):
    matrix, before = tmp_path / "m.safetensors", (folder.path / "dataset.json").read_bytes()
    write_matrix(matrix, [np.ones((rows, 2))], rows, 2)
    with pytest.raises(ValueError, match=line):
        folder.add_features(side, name, matrix, {"kind": "given"})
    assert (folder.path / "dataset.json").read_bytes() == before
    assert matrix.exists()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"image": "nets"}, "things has the image features: net; got 'nets'"),
        (
            {"text": "bow"},
            "things has the text features: none: `fasthash embed .* ENCODER` makes some; got 'bow'",
        ),
        ({"split": "dcmh"}, "things has the split: own, other; got 'dcmh'"),
        ({"captions": "all"}, "captions must be one of join, first, got 'all'"),
        ({"layers": 2}, "a prepared folder has the options: image, text, split, captions; got 'layers'"),
    ],
)
def test_unknown_options(folder, options, line):
    with pytest.raises(ValueError, match=line):
        load(str(folder.path), **options)


def test_other_names_and_places(folder, tmp_path):
    with pytest.raises(ValueError, match="out holds things, not wiki2"):
        load("wiki2", folder=folder.path)
    with pytest.raises(ValueError, match="or a prepared folder, got 'nowhere'"):
        load("nowhere")
    (tmp_path / "plain").mkdir()
    with pytest.raises(ValueError, match=r"there is no dataset\.json in it; make one with `fasthash data prepare"):
        load(str(tmp_path / "plain"))
    with pytest.raises(FileNotFoundError, match=r"no prepared data set at .*plain: dataset\.json is missing"):
        Folder(tmp_path / "plain")


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-2])


def _change(**values):
    def change(path):
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


@pytest.mark.parametrize(
    ("file", "damage", "line"),
    [
        ("features/image/net.safetensors", _truncate, "net.safetensors must have .* bytes as dataset.json says, got"),
        ("items.parquet", lambda path: path.unlink(), "items.parquet is missing, dataset.json names it"),
        ("dataset.json", _truncate, "dataset.json is damaged or another file: content"),
        ("dataset.json", _change(version=9), "has format version 9, this fasthash reads up to 1"),
        ("dataset.json", _change(version=9, rows="many"), "has format version 9, this fasthash reads up to 1"),
        ("dataset.json", _change(format="x"), "damaged or another file: format"),
        ("dataset.json", _change(rows="many"), "damaged or another file: rows"),
    ],
)
def test_damage_is_told_in_one_line(folder, file, damage, line):
    damage(folder.path / file)
    with pytest.raises((ValueError, FileNotFoundError), match=line):
        load(str(folder.path))


@pytest.mark.parametrize("file", ["labels.safetensors", "splits/own.safetensors", "items.parquet"])
def test_a_changed_byte(folder, file):
    path = folder.path / file
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path.name} is not the file that was written: SHA-256"):
        folder.verify()


def test_a_file_of_the_same_size_that_is_no_parquet(folder):
    path = folder.path / "items.parquet"
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(ValueError, match="items.parquet is damaged"):
        load(str(folder.path)).ids[0]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_full_disk_leaves_what_was_there(folder, tmp_path, monkeypatch, overwrite):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fasthash.data.prepared.writing.write_matrix", full)
    place = folder.path if overwrite else tmp_path / "new"
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(OSError, match="No space left"):
        write(gathered(tmp_path, name="others"), place, splits=splits(), overwrite=overwrite)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert load(str(folder.path)).name == "things"


def test_a_disk_that_is_full_for_the_labels_alone(tmp_path, monkeypatch):
    module = pytest.importorskip("safetensors")
    numpy = pytest.importorskip("safetensors.numpy")

    def full(tensors, path):
        raise module.SafetensorError("No space left on device")

    monkeypatch.setattr(numpy, "save_file", full)
    with pytest.raises(OSError, match=r"labels.safetensors cannot be written: No space left"):
        write(gathered(tmp_path), tmp_path / "out", splits=splits())
    assert not list(tmp_path.iterdir())


def test_places_that_are_taken(folder, tmp_path):
    with pytest.raises(FileExistsError, match="is prepared already: --overwrite"):
        write(gathered(tmp_path), folder.path, splits=splits())
    assert write(gathered(tmp_path, name="new"), folder.path, splits=splits(), overwrite=True).record.name == "new"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match=r"must be new or empty, it holds thesis.tex"):
        write(gathered(tmp_path), tmp_path / "mine", splits=splits(), overwrite=True)
    with pytest.raises(FileExistsError, match="must be a folder, got a file"):
        write(gathered(tmp_path), tmp_path / "mine" / "thesis.tex", splits=splits())
    assert (tmp_path / "mine" / "thesis.tex").exists()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"image": np.full((N, 2), np.nan)}, "image features must be finite in float32, row 0 is not"),
        ({"image": np.full((N, 2), 1e300)}, "image features must be finite in float32, row 0 is not"),
        ({"image": np.array([["a"]] * N)}, "image features must be numbers"),
        ({"labels": np.full((N, 3), 2, np.uint8)}, "labels must be multi-hot uint8"),
        ({"class_names": ("a", "b")}, "class_names must be 3 like the columns of labels, got 2"),
        ({"name": "a/b"}, "name must be letters, digits"),
        ({"texts": [("a",)] * 7 + [("half \ud83d",)] * 5}, r"captions must be UTF-8, row 7 has 'half \\ud83d'"),
    ],
)
def test_values_that_do_not_fit(tmp_path, changes, line):
    with pytest.raises(ValueError, match=line):
        write(gathered(tmp_path, **changes), tmp_path / "out", splits=splits())
    assert not list(tmp_path.iterdir())


def test_trained_run_finds_its_folder_again(tmp_path):
    """From a prepared folder to a model, an index and back, by its path alone."""
    from fasthash.retrieval import data_of

    given = gathered(tmp_path, text=np.random.default_rng(1).standard_normal((N, 4)), text_features="vec")
    folder = write(given, tmp_path / "out", splits=splits(), skipped=[Skipped(kind="leak", policy="keep", count=1)])
    assert is_prepared(folder.path)
    assert not is_prepared(tmp_path)
    run = fasthash.train("two_tower", str(folder.path), bits=8, out=tmp_path / "run", epochs=1, progress=False)
    again = data_of(fasthash.HashModel.load(tmp_path / "run"))
    assert isinstance(again, PairedDataset)
    assert again.checksum() == load(str(folder.path)).checksum()
    assert run.scores.i2t is not None
