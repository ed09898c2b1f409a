"""An encoding goes on where it was stopped, and only as the encoding that it was; then it becomes shards."""

import json
import os
import shutil
import tarfile

import numpy as np
import pytest
import tiny_clip
import torch
from encode_work import (
    BITS,
    draw,
    features_model,
    here,  # noqa: F401  (a fixture)
    raw_model,
    read,
    whole_features,
    write_features,
)

from fasthash.cli._run import run
from fasthash.codes import unpack
from fasthash.distributed.encoding import encode, shards_of
from fasthash.distributed.encoding._batches import fitted_rows, row_bytes
from fasthash.distributed.encoding._encoder import RowEncoder
from fasthash.distributed.encoding._rows import Rows
from fasthash.distributed.encoding._worker import MOST_TRIES
from fasthash.models import HashModel, backbones
from fasthash.models.tower import Tower, TowerConfig
from fasthash.search import load

pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
N = 20


@pytest.fixture
def corpus(tmp_path):
    return write_features(tmp_path / "x.parquet", whole_features(N), id=np.arange(100, 100 + N))


def codes_in_one_process():
    return features_model().encode_image(whole_features(N))


def test_an_interrupted_run_goes_on(tmp_path, corpus, here):  # noqa: F811
    out, options = tmp_path / "out", {"rows_per_file": 4, "shards": 2}
    here.stop_after = 2
    with pytest.raises(KeyboardInterrupt, match="8 of 20 rows are done, the same call goes on"):
        encode(corpus, features_model(), out=out, **options)
    assert not (out / "encode.json").exists()
    with pytest.raises(FileNotFoundError, match=r"has no encode\.json: no finished encoding"):
        shards_of(out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("part-*")}
    (out / ".fasthash-0123.tmp").write_bytes(b"half a part")
    here.stop_after, first = None, list(here.blocks)
    made = encode(corpus, features_model(), out=out, **options)
    assert len(before) == 2
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())
    assert len(set(first + here.blocks)) == len(here.blocks) == 5, "no block twice"
    assert (made.computed, made.rows) == (12, 20)
    ids, codes, _, _ = read(out)
    assert np.array_equal(ids, range(100, 120))
    assert np.array_equal(codes, codes_in_one_process())
    assert not list(out.glob(".*")), "nothing is left beside the parts"
    again = encode(corpus, features_model(), out=out, **options)
    assert (again.computed, again.rows, again.shards) == (0, 20, out / "shards")
    assert len(here.blocks) == 5


def test_a_damaged_or_lost_part_is_made_again(tmp_path, corpus, here):  # noqa: F811
    encode(corpus, features_model(), out=tmp_path / "out", rows_per_file=4)
    parts = sorted((tmp_path / "out").glob("part-*"))
    parts[1].write_bytes(parts[1].read_bytes()[:100])
    parts[3].unlink()
    made = encode(corpus, features_model(), out=tmp_path / "out", rows_per_file=4)
    assert made.computed == 8
    assert np.array_equal(read(tmp_path / "out")[1], codes_in_one_process())


def test_another_request_is_refused(tmp_path, corpus, here):  # noqa: F811
    out, model = tmp_path / "out", features_model()
    encode(corpus, model, out=out, rows_per_file=4, shards=1)
    with pytest.raises(ValueError, match="out was begun with another side: image, now text; overwrite=True"):
        encode(corpus, model, out=out, rows_per_file=4, side="text")
    with pytest.raises(ValueError, match="begun with another rows_per_file: 4, now 5"):
        encode(corpus, model, out=out, rows_per_file=5)
    other = HashModel(model.text, model.image)
    with pytest.raises(ValueError, match="begun with another model: [0-9a-f]{60}, now [0-9a-f]{60}"):
        encode(corpus, other, out=out, rows_per_file=4)
    write_features(corpus, whole_features(N + 1), id=np.arange(N + 1))
    with pytest.raises(ValueError, match="begun with another source bytes"):
        encode(corpus, model, out=out, rows_per_file=4)
    made = encode(corpus, model, out=out, rows_per_file=4, overwrite=True)
    assert (made.computed, made.rows) == (N + 1, N + 1)
    assert np.array_equal(read(out)[0], range(N + 1))
    assert not (out / "shards").exists(), "those were of other codes"


def test_other_contents_of_the_same_size_are_another_source(tmp_path, corpus, here):  # noqa: F811
    for factor, computed in ((1, N), (1, 0), (2, None)):
        cells = (factor * whole_features(N)).tolist()
        pq.write_table(pa.table({"features": cells}), corpus, compression="none")
        if computed is not None:
            size = corpus.stat().st_size
            assert encode(corpus, features_model(), out=tmp_path / "out").computed == computed
    assert corpus.stat().st_size == size
    with pytest.raises(ValueError, match="begun with another source listing"):
        encode(corpus, features_model(), out=tmp_path / "out")
    for name in "ab":
        (tmp_path / "text").write_text("red")
        with tarfile.open(tmp_path / "x.tar", "w") as tar:
            tar.add(tmp_path / "text", f"{name}.txt")
        if name == "a":
            encode(tmp_path / "x.tar", raw_model(), out=tmp_path / "texts", side="text")
    with pytest.raises(ValueError, match="begun with another source listing"):
        encode(tmp_path / "x.tar", raw_model(), out=tmp_path / "texts", side="text")


@pytest.mark.parametrize("killed_at", ["shards", "clearing"])
def test_overwriting_what_was_killed(tmp_path, corpus, here, monkeypatch, killed_at):  # noqa: F811
    out, model = tmp_path / "out", features_model()
    encode(corpus, model, out=out, rows_per_file=4, shards=2)
    if killed_at == "shards":
        (out / "shards" / "shards.json").unlink()
    else:
        with monkeypatch.context() as patch:
            patch.setattr("pathlib.Path.glob", lambda *_: (_ for _ in ()).throw(SystemExit))
            with pytest.raises(SystemExit):
                encode(corpus, model, out=out, rows_per_file=4, overwrite=True)
        assert not (out / "encode.json").exists()
    made = encode(corpus, model, out=out, rows_per_file=5, overwrite=True)
    assert (made.computed, made.shards) == (N, None)
    assert sorted(os.listdir(out)) == ["encode.json", *(part["file"] for part in read(out)[3]["parts"])]


def test_a_folder_of_somebody_else_is_left_alone(tmp_path, corpus, here):  # noqa: F811
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r"must be a new or empty folder, .* holds thesis\.tex"):
            encode(corpus, features_model(), out=tmp_path / "out", overwrite=overwrite)
    with pytest.raises(ValueError, match="out must be a folder, got the file"):
        encode(corpus, features_model(), out=tmp_path / "out" / "thesis.tex")


def test_one_run_at_a_time(tmp_path, corpus, here):  # noqa: F811
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / "out").mkdir()
    handle = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(RuntimeError, match="another process is encoding into"):
            encode(corpus, features_model(), out=tmp_path / "out")
    finally:
        os.close(handle)


def test_a_file_system_without_locks(tmp_path, corpus, here, monkeypatch):  # noqa: F811
    def refuses(*_):
        raise OSError(9, "Bad file descriptor")  # of NFS, which locks only what is open for writing

    monkeypatch.setattr("fcntl.flock", refuses)
    assert encode(corpus, features_model(), out=tmp_path / "out").rows == N


def test_a_block_that_kills_every_worker_is_given_up(tmp_path, corpus, here, monkeypatch):  # noqa: F811
    def dies(*_):
        raise SystemExit  # as far as a process can die in its own tests

    monkeypatch.setattr("fasthash.distributed.encoding._encoder.RowEncoder.encode", dies)
    monkeypatch.setattr("pathlib.Path.unlink", lambda *_, **__: None)  # what a dead worker would not do
    monkeypatch.setattr("fasthash.distributed.encoding._folder.TRIES", "no-such")
    for _ in range(MOST_TRIES):
        with pytest.raises(SystemExit):
            encode(corpus, features_model(), out=tmp_path / "out")
    with pytest.raises(RuntimeError, match=f"cannot be made: {MOST_TRIES} workers died over it"):
        encode(corpus, features_model(), out=tmp_path / "out")


def test_shards_of_the_codes(tmp_path, corpus, here):  # noqa: F811
    made = encode(corpus, features_model(), out=tmp_path / "out", rows_per_file=6, shards=3)
    shards = load(made.shards)
    assert [len(index) for index in shards.indexes] == [7, 7, 6]
    assert np.array_equal(shards.ids, range(100, 120))
    assert np.array_equal(np.concatenate([codes for _, codes in shards.batches()]), codes_in_one_process())
    with pytest.raises(FileExistsError):
        shards_of(tmp_path / "out")
    assert len(shards_of(tmp_path / "out", tmp_path / "other", shards=2).indexes) == 2
    next((tmp_path / "out").glob("part-*")).unlink()
    with pytest.raises(ValueError, match=r"must have the 20 codes of encode\.json, got 14"):
        shards_of(tmp_path / "out", overwrite=True)


def test_another_number_of_shards_is_not_passed_over(tmp_path, corpus, here):  # noqa: F811
    options = {"out": tmp_path / "out", "rows_per_file": 6}
    encode(corpus, features_model(), **options, shards=9)
    assert len(load(tmp_path / "out" / "shards").indexes) == 7, "of three codes, the last of two"
    assert encode(corpus, features_model(), **options, shards=9).computed == 0
    with pytest.raises(ValueError, match="has 7 shards already, got shards=3; remove that folder"):
        encode(corpus, features_model(), **options, shards=3)
    shutil.rmtree(tmp_path / "out" / "shards")
    encode(corpus, features_model(), **options, shards=3)
    assert len(load(tmp_path / "out" / "shards").indexes) == 3


def test_the_model_of_a_folder_must_stay(tmp_path, corpus, here):  # noqa: F811
    features_model().save(tmp_path / "run")
    made = encode(corpus, tmp_path / "run", out=tmp_path / "out", rows_per_file=10)
    assert np.array_equal(read(tmp_path / "out")[1], codes_in_one_process())
    assert made.actors == 1
    from fasthash.distributed.encoding._models import share

    shared = share(tmp_path / "run", None)[1]()
    raw_model().save(tmp_path / "run")
    with pytest.raises(ValueError, match="was changed while it was used"):
        shared.load("cpu")


def test_a_gpu_without_memory_gets_smaller_batches(monkeypatch):
    model, x, asked = features_model(), whole_features(40), []
    real = model.encode_image

    def short(items, batch_size=None):
        asked.append(batch_size)
        if batch_size > 10:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(items, batch_size=batch_size)

    monkeypatch.setattr(model, "encode_image", short)
    encoder = RowEncoder(model, "image", "features", "refuse", batch_size=32)
    rows = Rows(np.arange(40), x, [""] * 40, [""] * 40)
    ((_, codes),) = encoder.encode([rows])
    assert np.array_equal(codes, real(x))
    assert asked == [32, 16, 8]
    assert encoder.batch == 8, "the next block begins where it fits"
    monkeypatch.setattr(model, "encode_image", lambda *_, **__: short(x, 99))
    with pytest.raises(torch.OutOfMemoryError):
        list(encoder.encode([rows]))


def test_batches_fit_the_free_memory(monkeypatch):
    model = features_model()
    assert row_bytes(model.image) == BITS * 4
    free = "fasthash.distributed.encoding._batches.free_memory"
    monkeypatch.setattr(free, lambda device: 1 << 34)
    assert fitted_rows(model, "image", "features", 2) == 4096
    monkeypatch.setattr(free, lambda device: 4096 * BITS * 4)
    assert fitted_rows(model, "image", "features", 1) == 512
    assert fitted_rows(model, "image", "features", 4) == 128, "workers share the memory of a machine"
    monkeypatch.setattr(free, lambda device: 0)
    assert fitted_rows(model, "image", "features", 1) == 1


def test_the_batch_size_does_not_change_whole_numbers(tmp_path, here):  # noqa: F811
    paths = draw(tmp_path / "in", [f"{i}.png" for i in range(7)])
    for batch_size in (1, 3):
        made = encode(tmp_path / "in", raw_model(), out=tmp_path / str(batch_size), batch_size=batch_size)
        assert made.batch_size == batch_size
        assert np.array_equal(read(tmp_path / str(batch_size))[1], raw_model().encode_image(paths))


def test_encode_takes_a_batch_size():
    model, x = features_model(), whole_features(N)
    for size in (1, 7, 100):
        assert np.array_equal(model.encode_image(x, batch_size=size), codes_in_one_process())
    with pytest.raises(ValueError, match="encode_image: batch_size must be a whole number .* got 0"):
        model.encode_image(x, batch_size=0)


def test_networks_that_take_pictures_and_texts(tmp_path, here):  # noqa: F811
    tiny_backbone, clip = pytest.importorskip("tiny_backbone"), tiny_clip.save(tmp_path / "clip")
    text = backbones.build(f"clip:{clip}", side="text")
    towers = [Tower(TowerConfig(part.width, (), BITS), part) for part in (tiny_backbone.Tiny(False, 0.0), text)]
    model = HashModel(*towers)
    names, texts = [f"{i}.png" for i in range(9)], ["red heart", "dog", "blue car on a tree", "sun"]
    paths = draw(tmp_path / "in", names)
    made = encode(tmp_path / "in", model, out=tmp_path / "image")
    assert made.batch_size == 64
    assert np.array_equal(read(tmp_path / "image")[1], model.encode_image(paths))
    pq.write_table(pa.table({"text": texts}), tmp_path / "x.parquet")
    encode(tmp_path / "x.parquet", model, out=tmp_path / "text", side="text")
    assert np.array_equal(read(tmp_path / "text")[1], model.encode_text(texts))
    write_features(tmp_path / "f.parquet", whole_features(3))
    with pytest.raises(ValueError, match="column features must hold pictures for this model"):
        encode(tmp_path / "f.parquet", model, out=tmp_path / "other", column="features")


def test_command(tmp_path, corpus, here, capsys):  # noqa: F811
    features_model().save(tmp_path / "run")
    line = [
        "encode",
        str(tmp_path / "run"),
        "--ray",
        str(corpus),
        "--out",
        str(tmp_path / "out"),
        "--rows-per-file",
        "6",
    ]
    assert run([*line, "--shards", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["rows"], said["computed"], said["skipped"], said["restarts"]) == (N, N, 0, 0)
    assert said["shards"] == str(tmp_path / "out" / "shards")
    assert run(line) == 0
    assert "20 codes of 12 bits, done before" in capsys.readouterr().out
    assert run([*line, "--overwrite"]) == 0
    assert "20 rows in " in capsys.readouterr().out
    for more, error in (
        (["--text", "a"], "--ray encodes a corpus and cannot be combined with --text"),
        (["--features", "x.npy"], "cannot be combined with --features"),
        (["--side", "text"], "was begun with another side: image, now text"),
    ):
        assert run([*line, *more]) == 2
        assert error in capsys.readouterr().err
    assert run(line[:4]) == 2
    assert "--ray needs --out" in capsys.readouterr().err
    assert run(["encode", str(tmp_path / "run"), "--shards", "2"]) == 2
    assert "--shards is for a corpus: it needs --ray" in capsys.readouterr().err


def test_damaged_files(tmp_path, here):  # noqa: F811
    draw(tmp_path / "in", ["a.png"])
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(tmp_path / "in" / "a.png", "a.png")
        tar.add(tmp_path / "in" / "a.png", "b.txt")
    with pytest.raises(ValueError, match=r"x\.tar:b: the row has none"):
        encode(tmp_path / "x.tar", raw_model(), out=tmp_path / "out")
    made = encode(tmp_path / "x.tar", raw_model(), out=tmp_path / "out", side="image", damaged="skip")
    assert (made.rows, made.skipped) == (1, 1)
    encode(tmp_path / "x.tar", raw_model(), out=tmp_path / "text", side="text", damaged="skip")
    why = [row["why"] for row in read(tmp_path / "text")[3]["damaged"]]
    assert why[0] == "the row has none"
    assert "its text cannot be read" in why[1]
    content = (tmp_path / "x.tar").read_bytes()
    (tmp_path / "x.tar").write_bytes(content[:700])
    with pytest.raises(ValueError, match=r"x\.tar: damaged tar file"):
        encode(tmp_path / "x.tar", raw_model(), out=tmp_path / "other")


def test_codes_are_of_the_sign_and_order_that_is_said(tmp_path, corpus, here):  # noqa: F811
    model = features_model()
    encode(corpus, model, out=tmp_path / "out")
    relaxed = model.relax_image(whole_features(N))
    assert np.array_equal(unpack(read(tmp_path / "out")[1], BITS) > 0, relaxed >= 0)
    shutil.rmtree(tmp_path / "out")
