"""Every result file says what it was measured on, with and when."""

import json
import platform
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
import torch

import fasthash
from fasthash import _machine, data
from fasthash.training import train

OPTIONS = {"pairs": 120, "image_width": 12, "text_width": 9}


@pytest.fixture(scope="module")
def small():
    return data.load("synthetic", **OPTIONS)


def test_the_record():
    found = _machine.provenance(seed=3, started=_machine.now(), seconds=1.23456)
    assert json.loads(json.dumps(found)) == found
    assert (found["seed"], found["seconds"]) == (3, 1.235)
    assert found["versions"]["fasthash"] == fasthash.__version__
    assert found["versions"]["torch"] == torch.__version__
    assert found["versions"]["numpy"] == np.__version__
    assert found["versions"]["python"] == platform.python_version()
    assert found["hardware"]["cores"] >= 1
    assert found["hardware"]["processor"]
    age = datetime.now(timezone.utc) - datetime.fromisoformat(found["started"])
    assert timedelta(0) <= age < timedelta(minutes=1)
    assert _machine.provenance(started="", seconds=None)["seconds"] is None


def test_a_package_that_is_missing_is_left_out(monkeypatch):
    monkeypatch.setattr(_machine, "PACKAGES", ("numpy", "there-is-no-such-package"))
    assert set(_machine.provenance(started="", seconds=0.0)["versions"]) == {"fasthash", "python", "numpy"}


def test_a_split_has_a_checksum_of_its_own(small):
    again = data.load("synthetic", **OPTIONS)
    assert again.split_checksum() == small.split_checksum()
    other = small.validation_split(0.2)
    assert other.split_checksum() != small.split_checksum()
    assert small.validation_split(0.2).split_checksum() == other.split_checksum()
    assert small.validation_split(0.2, seed=1).split_checksum() != other.split_checksum()
    louder = data.load("synthetic", **OPTIONS, noise=0.9)
    assert louder.split_checksum() == small.split_checksum(), "the same pairs in the same parts"
    assert louder.checksum() != small.checksum()


def test_a_pair_that_changes_its_part_changes_the_checksum(small):
    rows = np.arange(len(small))
    parts = {"query": rows[:20], "database": rows[20:]}
    one = data.PairedDataset.from_arrays(small.image, small.text, **parts)
    two = data.PairedDataset.from_arrays(small.image, small.text, query=rows[:21], database=rows[21:])
    three = data.PairedDataset.from_arrays(small.image, small.text, **parts, train=rows[20:40])
    assert len({one.split_checksum(), two.split_checksum(), three.split_checksum()}) == 3


def test_a_run_says_how_it_was_made(small, tmp_path):
    options = {"epochs": 2, "text_hidden": [8], "batch_size": 32}
    run = train("djsrh", small, bits=8, seed=4, out=tmp_path / "run", progress=False, device="cpu", **options)
    found = json.loads((tmp_path / "run" / "scores.json").read_text("utf-8"))["provenance"]
    wanted = {
        "method": "djsrh", "bits": 8, "seed": 4, "data": "synthetic", "data_options": OPTIONS, "device": "cpu",
        "data_checksum": small.checksum(), "split_checksum": small.split_checksum(),
        "threads": torch.get_num_threads(), "precision": "32-true", "processes": 1,
    }  # fmt: skip
    assert wanted.items() <= found.items()
    assert found["options"]["batch_size"] == 32
    assert found["seconds"] == pytest.approx(run.seconds, abs=0.001)
    before = (tmp_path / "run" / "scores.json").read_bytes()
    train("djsrh", small, bits=8, seed=4, out=tmp_path / "run", resume=True, progress=False, device="cpu", **options)
    assert (tmp_path / "run" / "scores.json").read_bytes() == before, "a finished run is left as it is"


def test_a_run_without_labels_says_it_too(tmp_path):
    bare = data.load("synthetic", **OPTIONS, kind="unlabelled")
    options = {"epochs": 1, "text_hidden": [8], "batch_size": 32}
    train("djsrh", bare, bits=8, out=tmp_path / "run", progress=False, device="cpu", **options)
    found = json.loads((tmp_path / "run" / "scores.json").read_text("utf-8"))
    assert set(found) == {"provenance"}
    assert found["provenance"]["data_checksum"] == bare.checksum()
