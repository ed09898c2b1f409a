"""Twelve drawn pictures with one to three captions each, in a prepared folder, and a tiny CLIP."""

import logging

import numpy as np
import pytest
import tiny_clip
import torch

pytest.importorskip("pyarrow")

from fasthash.data import Split
from fasthash.data.gathered import Gathered
from fasthash.data.prepared import write
from fasthash.features import Picture

N = 12
WORDS = tiny_clip.WORDS


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    torch.manual_seed(0)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    return tiny_clip.save(tmp_path_factory.mktemp("clip"))


def captions(i):
    return tuple(f"{WORDS[(i + j) % 15]} {WORDS[(7 * i + j) % 15]}" + " and the sun" * j for j in range(i % 3 + 1))


@pytest.fixture
def make(tmp_path):
    """A prepared folder of ``n`` pairs; row 5 has no caption."""
    Image = pytest.importorskip("PIL.Image")

    def made(n=N, name="drawn"):
        rng, rows = np.random.default_rng(0), np.arange(n)
        (tmp_path / "photos").mkdir(exist_ok=True)
        pictures = [Picture(tmp_path / "photos" / f"{i}.png") for i in range(n)]
        for i, picture in enumerate(pictures):
            Image.fromarray(rng.integers(0, 256, (34 + i, 40, 3), dtype=np.uint8)).save(picture.path)
        texts = [() if i == 5 else captions(i) for i in range(n)]
        labels = np.eye(3, dtype=np.uint8)[rows % 3]
        gathered = Gathered(name=name, pictures=pictures, texts=texts, labels=labels, class_names=("a", "b", "c"))
        splits = {"own": Split(rows[:3], rows[3:], rows[3:]), "other": Split(rows[-3:], rows[:-3], rows[:-3])}
        return write(gathered, tmp_path / name, splits=splits)

    return made


@pytest.fixture
def folder(make):
    return make()


@pytest.fixture
def photos(folder):
    return list(folder.items.pictures)
