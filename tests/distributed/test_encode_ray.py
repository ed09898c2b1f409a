"""Ray itself: actors with a model each, one that dies, a run that is killed, datasets of Ray's own."""

import json
import signal
import subprocess
import sys
import time

import encode_work
import numpy as np
import pytest
from encode_work import (
    draw,
    features_model,
    here,  # noqa: F401  (a fixture)
    raw_model,
    read,
    whole_features,
)

from fasthash.distributed import encode
from fasthash.distributed.encoding import _pipeline

pytest.importorskip("pyarrow")
pytest.importorskip("PIL")
N = 12
WAIT = 120  # seconds at most for what takes a few


@pytest.fixture
def setup(ray_cluster):
    """What makes `Corners` known to workers, whose path this folder is not on."""
    pickle = pytest.importorskip("ray.cloudpickle")
    pickle.register_pickle_by_value(encode_work)
    yield encode_work.known
    pickle.unregister_pickle_by_value(encode_work)


@pytest.fixture
def photos(tmp_path):
    return draw(tmp_path / "in", [f"{i:02}.png" for i in range(N)])


def test_a_worker_that_dies_is_started_again(tmp_path, photos, ray_cluster, setup):
    model = raw_model(deadly="05.png", marker=str(tmp_path / "died"))
    made = encode(
        tmp_path / "in", model, out=tmp_path / "out", rows_per_file=2, concurrency=1, setup=setup,
        progress=False,
    )  # fmt: skip
    assert (tmp_path / "died").exists()
    assert made.restarts == 1
    assert made.actors == 1, "the same actor, started again"
    ids, codes, keys, manifest = read(tmp_path / "out")
    assert np.array_equal(ids, range(N))
    assert keys == [path.name for path in photos]
    assert np.array_equal(codes, raw_model().encode_image(photos))
    assert manifest["run"]["last_call"]["restarts"] == 1
    assert not list((tmp_path / "out").glob(".*"))
    assert ray_cluster.is_initialized(), "the cluster was there before"


KILLED = """
import sys, encode_work, ray
from fasthash.distributed import encode
folder, address = sys.argv[1:]
ray.init(address, log_to_driver=False)
ray.cloudpickle.register_pickle_by_value(encode_work)
model = encode_work.raw_model(pause=0.3, marker=folder + "/fast")
encode(folder + "/in", model, out=folder + "/out", rows_per_file=1, concurrency=1, setup=encode_work.known)
"""


def test_a_run_that_is_killed_goes_on(tmp_path, photos, ray_cluster, here):  # noqa: F811
    address = ray_cluster.get_runtime_context().gcs_address
    folders = [str(path) for path in sys.path if path]
    run = f"import sys; sys.path[:0] = {folders!r}{KILLED}"
    driver = subprocess.Popen([sys.executable, "-c", run, str(tmp_path), address], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + WAIT
    while not list((tmp_path / "out").glob("part-*")) and driver.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    said = driver.communicate()[1]
    done = {path.name for path in (tmp_path / "out").glob("part-*")}
    assert done, said
    assert not (tmp_path / "out" / "encode.json").exists(), "it should have been killed before the end"
    (tmp_path / "fast").touch()
    model = raw_model(pause=0.3, marker=str(tmp_path / "fast"))
    encode(tmp_path / "in", model, out=tmp_path / "out", rows_per_file=1)
    assert not done & set(here.blocks), "what was done is not encoded again"
    ids, codes, _, _ = read(tmp_path / "out")
    assert np.array_equal(ids, range(N))
    assert np.array_equal(codes, raw_model().encode_image(photos))


def dataset(ray, x, ids, blocks=3):
    rows = [{"id": int(i), "features": row} for i, row in zip(ids, x, strict=True)]
    return ray.data.from_items(rows, override_num_blocks=blocks)


def by_id(out):
    ids, codes, _, _ = read(out)
    order = np.argsort(ids)
    return ids[order], codes[order]


def test_a_dataset(tmp_path, ray_cluster):
    x, ids = whole_features(30), np.random.default_rng(0).permutation(1000)[:30]
    made = encode(
        dataset(ray_cluster, x, ids), features_model(), out=tmp_path / "out", rows_per_file=8, concurrency=1,
        progress=False,
    )  # fmt: skip
    found, codes = by_id(tmp_path / "out")
    assert np.array_equal(found, np.sort(ids))
    assert np.array_equal(codes, features_model().encode_image(x)[np.argsort(ids)])
    assert (made.rows, made.computed) == (30, 30)


def test_a_dataset_goes_on_by_its_ids(tmp_path, ray_cluster, here):  # noqa: F811
    x, out = whole_features(30), tmp_path / "out"
    x[3, 2] = np.nan
    options = {"out": out, "rows_per_file": 8, "damaged": "skip"}
    rows = dataset(ray_cluster, x, np.arange(30))
    with pytest.raises(ValueError, match="row of id 3: its features are not finite"):
        encode(rows, features_model(), **options | {"damaged": "refuse"})
    encode(rows, features_model(), **options)
    (lost,) = [p for p in out.glob("part-*") if 20 in encode_work.read_ids(p)]
    count = len(encode_work.read_ids(lost))
    lost.unlink()
    made = encode(dataset(ray_cluster, x, np.arange(30), blocks=2), features_model(), **options)
    assert (made.computed, made.rows, made.skipped) == (count, 29, 1)
    found, codes = by_id(out)
    good = [i for i in range(30) if i != 3]
    assert np.array_equal(found, good)
    assert np.array_equal(codes, features_model().encode_image(x[good]))
    next(out.glob("part-*")).unlink()
    with pytest.raises(ValueError, match="it was begun with another dataset"):
        encode(dataset(ray_cluster, x[:10], np.arange(10)), features_model(), **options)


def test_a_dataset_with_an_id_twice(tmp_path, ray_cluster, here):  # noqa: F811
    x = whole_features(6)
    with pytest.raises(ValueError, match="id 4 is given twice by the dataset"):
        encode(dataset(ray_cluster, x, [0, 4, 1, 2, 4, 5]), features_model(), out=tmp_path / "out", rows_per_file=3)
    assert not (tmp_path / "out" / "encode.json").exists()


def test_datasets_of_pictures_and_texts(tmp_path, ray_cluster, here):  # noqa: F811
    data, model = ray_cluster.data, raw_model()
    pictures = draw(tmp_path / "in", [f"{i}.png" for i in range(4)])
    pixels = [np.asarray(encode_work.features.pictures.open_picture(path)) for path in pictures]
    texts = ["red heart", "blue car", "tree", "car car"]
    kinds = {"bytes": [p.read_bytes() for p in pictures], "paths": [str(p) for p in pictures], "pixels": pixels}
    for name, cells in kinds.items():
        rows = data.from_items([{"n": i, "image": cell} for i, cell in enumerate(cells)])
        encode(rows, model, out=tmp_path / name, id_column="n")
        assert np.array_equal(by_id(tmp_path / name)[1], model.encode_image(pictures))
    rows = data.from_items([{"id": i, "text": text} for i, text in enumerate(texts)])
    encode(rows, model, out=tmp_path / "text", side="text")
    assert np.array_equal(by_id(tmp_path / "text")[1], model.encode_text(texts))


def test_datasets_that_cannot_be(tmp_path, ray_cluster, here):  # noqa: F811
    data, out = ray_cluster.data, tmp_path / "out"
    x = whole_features(2).tolist()
    for rows, line in (
        ([{"features": row} for row in x], "no stable order of rows: it needs an id_column of integers"),
        ([{"features": row, "id": "a"} for row in x], "id_column id of the dataset must hold integers, got str"),
        ([{"text": "a", "id": 0}], "none has a usual name"),
        ([], "the dataset has no rows"),
    ):
        with pytest.raises(ValueError, match=line):
            encode(data.from_items(rows), features_model(), out=out)
    with pytest.raises(ValueError, match=r"kind is for files and folders"):
        encode(data.from_items([{"id": 0, "features": x[0]}]), features_model(), out=out, kind="parquet")


def test_what_ray_has_no_room_for(ray_cluster):
    assert _pipeline.gpu_share(None) == 0
    with pytest.raises(RuntimeError, match="gpus must be at most what Ray has, 0, got 1"):
        _pipeline.gpu_share(1)
    assert _pipeline.actor_count(None, 0.0, reads=False) == 8
    assert _pipeline.actor_count(None, 0.0, reads=True) == 7
    assert _pipeline.actor_count(3, 0.0, reads=True) == 3


def test_errors_of_workers_keep_their_kind():
    assert _pipeline._checked({"file": ""}) == {"file": ""}
    with pytest.raises(FileNotFoundError, match=r"^gone$"):
        _pipeline._checked({"error": "gone", "kind": "FileNotFoundError"})
    with pytest.raises(RuntimeError, match=r"^IndexError: 3$"):
        _pipeline._checked(json.loads('{"error": "3", "kind": "IndexError"}'))
