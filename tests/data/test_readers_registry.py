"""Layouts of files by name: what is known, what fits a folder, errors of one line, a reader of one's own."""

import subprocess
import sys

import numpy as np
import pytest

from fasthash.data import readers
from fasthash.data.gathered import Gathered
from fasthash.data.readers import _registry

FIELD = ("clip_line", "coco", "dcmh", "hichnet", "mirflickr25k", "mith_lists", "nus_wide", "train_test", "wiki")


@pytest.fixture
def clean(monkeypatch):
    monkeypatch.setattr(_registry, "_KINDS", dict(readers.kinds()))


def test_known_layouts():
    found = readers.kinds()
    assert set(FIELD) <= set(found)
    assert list(found) == sorted(found)
    for name, kind in found.items():
        assert kind.name == name
        assert kind.summary
        assert "\n" not in kind.summary
        assert callable(kind.function)
    assert "top" in found["nus_wide"].options


def test_what_cannot_be_read_is_one_line(tmp_path):
    for call, line in {
        ("other", tmp_path): "readers.read: kind must be one of .*coco.*, got 'other'",
        ("coco", tmp_path / "nowhere"): "readers.read: coco: no such file or folder: .*nowhere",
        ("auto", tmp_path / "nowhere"): "readers.detect: no such file or folder: .*nowhere",
        ("auto", tmp_path): "readers.detect: .* is of no known layout; name one of .*coco",
        ("coco", tmp_path): "coco: no such file: .*instances_train2017.json",
    }.items():
        with pytest.raises((ValueError, FileNotFoundError), match=line) as error:
            readers.read(*call)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="readers.read: nus_wide has the options: top, .*; got 'tops'"):
        readers.read("nus_wide", tmp_path, tops=21)
    with pytest.raises(ValueError, match="readers.read: name must be letters, digits, - and _, got 'a b'"):
        readers.read("coco", tmp_path, name="a b")


def test_a_reader_of_your_own(clean, tmp_path):
    (tmp_path / "mine.txt").write_text("a\nb\n")

    @readers.reader("mine", "lines of mine.txt", {"upper": "yes"}, detect=lambda where: (where / "mine.txt").exists())
    def read(where, *, name, progress, upper=None):
        texts = (where / "mine.txt").read_text().split()
        return Gathered(name=name or "mine", texts=[(text.upper() if upper else text,) for text in texts])

    assert readers.detect(tmp_path) == "mine"
    assert readers.read("auto", tmp_path).texts == [("a",), ("b",)]
    assert readers.read("mine", str(tmp_path), name="other", upper="yes").texts == [("A",), ("B",)]
    assert readers.read("mine", tmp_path, name="other").name == "other"
    with pytest.raises(ValueError, match="readers.reader: the kind 'mine' is taken by another reader"):
        readers.reader("mine", "mine")(lambda where, **rest: None)
    with pytest.raises(ValueError, match="the kind 'coco' is taken by fasthash.data.readers.coco"):
        readers.reader("coco", "mine")(read)
    with pytest.raises(ValueError, match="name must be lower-case letters, digits and _, got 'My-Own'"):
        readers.reader("My-Own", "mine")

    @readers.reader("twin", "the same files", detect=lambda where: (where / "mine.txt").exists())
    def twin(where, *, name, progress):
        raise AssertionError

    with pytest.raises(ValueError, match="readers.detect: .* may be mine or twin: name the kind"):
        readers.detect(tmp_path)
    readers.reader("mine", "again")(read)  # its module was run once more
    assert readers.kinds()["mine"].summary == "again"


def test_general_layouts_give_way_and_errors_count_as_no(clean, tmp_path):
    def broken(where):
        raise ValueError("no")

    @readers.reader("box", "anything", detect=lambda where: where.is_dir(), general=True)
    def box(where, *, name, progress):
        return Gathered(name="box", text=np.zeros((1, 1)))

    readers.reader("bad", "never", detect=broken)(box)
    special = tmp_path / "special"
    (special / "annotations").mkdir(parents=True)
    (special / "annotations" / "instances_x.json").touch()
    (special / "annotations" / "captions_x.json").touch()
    (tmp_path / "plain").mkdir()
    assert readers.detect(special) == "coco"
    assert readers.detect(tmp_path / "plain") == "box"

    @readers.reader("hub", "not on disk", on_disk=False)
    def hub(where, *, name, progress):
        return Gathered(name=name or where, text=np.zeros((1, 1)))

    assert readers.read("hub", "some-name").name == "some-name"


def test_readers_are_imported_when_they_are_asked_for():
    lines = [
        "import sys, fasthash.data.readers as r",
        "print([m for m in sys.modules if m.startswith('fasthash.data.readers.') and '._' not in m])",
        "r.kinds()",
        "print([m for m in ('scipy', 'h5py', 'pyarrow', 'datasets', 'torch', 'PIL') if m in sys.modules])",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]
