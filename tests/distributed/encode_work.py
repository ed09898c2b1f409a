"""Tiny models and corpora for encoding, and a worker of this process in place of Ray's."""

import json
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from fasthash import features
from fasthash.distributed.encoding import _dataset, _pipeline, _store
from fasthash.distributed.encoding._worker import BatchWorker, BlockWorker
from fasthash.models import HashModel
from fasthash.models.tower import Tower, TowerConfig

WIDTH, BITS = 6, 12
WORDS = ("red", "heart", "blue", "car", "tree")


@features.register
class Corners:
    """Four red points of a picture: whole numbers, so that no sum is rounded.

    Args:
        deadly: name of the picture over which the process dies, once.
        pause: seconds that a picture takes. marker: file that ends deaths and pauses.
    """

    kind, width = "test_corners", 4

    def __init__(self, deadly="", marker="", pause=0.0):
        self.deadly, self.marker, self.pause = deadly, marker, pause

    def encode(self, items):
        for item in items:
            if self.pause and not os.path.exists(self.marker):
                time.sleep(self.pause)
            if self.deadly and Path(str(item)).name == self.deadly and not os.path.exists(self.marker):
                Path(self.marker).touch()
                os._exit(7)
        return np.stack(
            [np.asarray(features.pictures.open_picture(x))[::7, ::7, 0][:2, :2].ravel() for x in items]
        ).astype(np.float32)

    def config(self):
        return {"kind": self.kind, "deadly": self.deadly, "marker": self.marker, "pause": self.pause}

    def tensors(self):
        return {}

    @classmethod
    def from_config(cls, config, tensors):
        return cls(config["deadly"], config["marker"], config["pause"])


def tower(width, bits=BITS, seed=0):
    """Weights of whole numbers: the same code in whatever batch a row of whole numbers is."""
    made = Tower(TowerConfig(width, (), bits))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for values in made.parameters():
            values.copy_(torch.randint(-9, 10, values.shape, generator=generator))
    return made


def features_model():
    return HashModel(tower(WIDTH), tower(WIDTH, seed=1))


def known():
    """Called in a worker, which has this module by value: it is not where Ray looks."""
    features.register(Corners)


def raw_model(**corners):
    """Pictures by their corners, texts by their words."""
    words = features.BagOfWords(WORDS, weighting="count", norm=None)
    return HashModel(
        tower(Corners.width), tower(len(WORDS), seed=1), image_extractor=Corners(**corners), text_extractor=words
    )


def whole_features(n, seed=0):
    return np.random.default_rng(seed).integers(-9, 10, (n, WIDTH)).astype(np.float32)


def draw(folder, names, seed=0):
    """Pictures of noise under these names."""
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(seed)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image.fromarray(rng.integers(0, 256, (14, 14, 3), dtype=np.uint8)).save(folder / name)
    return [folder / name for name in names]


def write_features(path, x, row_group_size=None, **columns):
    """A Parquet file of features and other columns."""
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    column = pa.FixedSizeListArray.from_arrays(pa.array(np.asarray(x).ravel()), x.shape[1])
    parquet.write_table(pa.table({**columns, "features": column}), path, row_group_size=row_group_size)
    return path


def read(out):
    """(ids, codes, keys or None) of a finished encoding, in the order of its files; the manifest too."""
    parquet = pytest.importorskip("pyarrow.parquet")
    manifest = json.loads((out / "encode.json").read_text())
    tables = [parquet.read_table(out / part["file"]) for part in manifest["parts"]]
    assert sorted(p.name for p in out.glob("part-*")) == [part["file"] for part in manifest["parts"]]
    ids = np.concatenate([table["id"].to_numpy() for table in tables])
    codes = [np.frombuffer(code, np.uint8) for table in tables for code in table["code"].to_pylist()]
    keys = [key for table in tables for key in table["key"].to_pylist()] if "key" in tables[0].column_names else None
    return (
        ids,
        np.array(codes, np.uint8).reshape(len(ids), tables[0].schema.field("code").type.byte_width),
        keys,
        manifest,
    )


def read_ids(part):
    """The ids of a part."""
    return pytest.importorskip("pyarrow.parquet").read_table(part)["id"].to_pylist()


class InProcess:
    """Runs blocks here; ``stop_after`` blocks it raises KeyboardInterrupt, as Ctrl-C does. Keeps their names."""

    def __init__(self):
        self.blocks, self.stop_after = [], None

    def run_blocks(self, job, reader, blocks, actors, gpus):
        worker = BlockWorker(job, pickle.loads(pickle.dumps(reader)))
        for block in blocks:
            if self.stop_after is not None and len(self.blocks) >= self.stop_after:
                raise KeyboardInterrupt
            yield self._report(worker({"block": [pickle.dumps(block)]}))
            self.blocks.append(block.part)

    def run_dataset(self, job, dataset, column, id_column, done, rows, actors, gpus):
        worker = BatchWorker(job, column, id_column, done)
        for batch in dataset.iter_batches(batch_size=rows, batch_format="numpy"):
            yield self._report(worker(batch))

    @staticmethod
    def _report(made):
        return next(_pipeline._checked(json.loads(text)) for text in made["report"])


@pytest.fixture
def here(monkeypatch):
    """No Ray: the same worker in this process."""
    pytest.importorskip("ray")
    pytest.importorskip("pyarrow")
    runs = InProcess()
    monkeypatch.setattr(_pipeline, "start_ray", lambda: None)
    monkeypatch.setattr(_store, "put", lambda value: value)
    monkeypatch.setattr(_store, "get", lambda value: value)
    monkeypatch.setattr(_pipeline, "gpu_share", lambda gpus: 0.0)
    monkeypatch.setattr(_pipeline, "actor_count", lambda concurrency, gpus, reads: 1)
    monkeypatch.setattr(_pipeline, "run_blocks", runs.run_blocks)
    monkeypatch.setattr(_dataset, "run_dataset", runs.run_dataset)
    return runs
