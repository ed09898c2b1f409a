"""A run over a folder gives the encoder's features, however it is cut up, interrupted or shared out."""

import gc
import os
import signal
import threading
import types
import weakref

import numpy as np
import pytest
import torch

from fasthash.data import load
from fasthash.data.prepared import Folder
from fasthash.embedding import embed, encoder, run
from fasthash.embedding._network import NetworkEncoder
from fasthash.embedding._rows import row_features
from fasthash.features import BagOfWords, base, register

N = 12
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}  # float32 sums in another order, through a few layers
QUIET = {"progress": False, "device": "cpu"}


def joined(folder):
    return list(folder.items.texts("join"))


def set_of(folder, side, name="clip"):
    return np.asarray(Folder(folder.path).features(side, name))


def leftovers(folder):
    return sorted(p.name for p in (folder.path / "features").rglob("*") if "embedding" in p.name)


def test_features_are_the_encoders(folder, clip, photos):
    made = embed(folder.path, image=f"clip:{clip}", text=f"clip:{clip}", **QUIET)
    np.testing.assert_allclose(
        set_of(folder, "image"), encoder(f"clip:{clip}", side="image").encode(photos), **ROUNDING
    )
    texts = encoder(f"clip:{clip}", side="text")
    np.testing.assert_allclose(set_of(folder, "text"), texts.encode(joined(folder)), **ROUNDING)
    data = load(str(folder.path), image="clip", text="clip")
    assert isinstance(data.image, np.memmap)
    np.testing.assert_allclose(data.text_extractor.encode(["red heart"]), texts.encode(["red heart"]), **ROUNDING)
    assert [(one.side, one.rows, one.width, one.computed) for one in made.sets] == [
        ("image", 12, 12, 12),
        ("text", 12, 12, 12),
    ]
    facts = Folder(folder.path).record.text["clip"]
    assert facts.encoder["captions"] == "join"
    assert facts.encoder["sha256"] == texts.config()["sha256"]
    assert leftovers(folder) == []
    Folder(folder.path).verify()


def test_a_model_trained_on_them_takes_words_and_pictures(folder, clip, photos, tmp_path):
    from fasthash.models import HashModel
    from fasthash.training import train

    embed(folder.path, image=f"clip:{clip}", text=f"clip:{clip}", **QUIET)
    data = load(str(folder.path))
    train("two_tower", data, bits=16, out=tmp_path / "run", epochs=1, batch_size=8, progress=False, device="cpu")
    model = HashModel.load(tmp_path / "run")
    words = joined(folder)
    apart = model.encode_text(words) ^ model.encode_text(np.asarray(data.text))
    apart = np.concatenate([apart, model.encode_image(photos) ^ model.encode_image(np.asarray(data.image))])
    assert np.unpackbits(apart).sum() <= 2, "rounding may turn a bit whose value is near zero"


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (5, 3), (64, None)])
def test_batches_and_threads_change_rounding_alone(folder, clip, batch_size, workers):
    how = {"batch_size": batch_size, "workers": workers}
    embed(folder.path, image=f"clip:{clip}", text=f"clip:{clip}", captions="mean", **how, **QUIET)
    want = encoder(f"clip:{clip}", side="image").encode(list(folder.items.pictures))
    np.testing.assert_allclose(set_of(folder, "image"), want, **ROUNDING)
    text = encoder(f"clip:{clip}", side="text")
    means = [text.encode(list(said) or [""]).mean(axis=0) for said in folder.items.captions]
    np.testing.assert_allclose(set_of(folder, "text"), means, **ROUNDING)


def test_the_first_caption(folder, clip):
    embed(folder.path, text=f"clip:{clip}", captions="first", **QUIET)
    want = encoder(f"clip:{clip}", side="text").encode(list(folder.items.texts("first")))
    np.testing.assert_allclose(set_of(folder, "text"), want, **ROUNDING)


def test_half_precision_is_near(folder, clip):
    embed(folder.path, image=f"clip:{clip}", precision="bf16-mixed", **QUIET)
    want = encoder(f"clip:{clip}", side="image").encode(list(folder.items.pictures))
    got = set_of(folder, "image")
    assert not np.array_equal(got, want)
    np.testing.assert_allclose(got, want, atol=0.05 * np.abs(want).max())  # bfloat16 keeps 8 bits
    with pytest.raises(ValueError, match="embed: precision 16-mixed needs a CUDA device"):
        embed(folder.path, image=f"clip:{clip}", precision="16-mixed", **QUIET)


def interrupt_at(rows):
    def report(done, total):
        if done >= rows:
            os.kill(os.getpid(), signal.SIGINT)

    return report


@pytest.mark.parametrize("rows", range(2, N, 2))
def test_goes_on_after_an_interruption_at_any_batch(folder, clip, rows):
    how = {"text": f"clip:{clip}", "batch_size": 2, "device": "cpu"}
    with pytest.raises(KeyboardInterrupt, match=f"embed: interrupted, {rows} of 12 rows are done: the same command"):
        embed(folder.path, progress=interrupt_at(rows), **how)
    assert leftovers(folder) == [".clip.embedding.partial", ".clip.embedding.partial.json"]
    seen = []
    made = embed(folder.path, progress=lambda done, total: seen.append(done), **how)
    assert made.sets[0].computed == N - rows
    assert seen == list(range(rows, N + 1, 2))
    want = encoder(f"clip:{clip}", side="text").encode(joined(folder))
    np.testing.assert_allclose(set_of(folder, "text"), want, **ROUNDING)
    assert leftovers(folder) == []


def test_other_settings_do_not_go_on(folder, clip):
    how = {"text": f"clip:{clip}", "batch_size": 2, "device": "cpu"}
    with pytest.raises(KeyboardInterrupt):
        embed(folder.path, progress=interrupt_at(4), **how)
    with pytest.raises(ValueError, match=r"other settings \(captions was join, now mean\)"):
        embed(folder.path, captions="mean", progress=False, **how)
    assert embed(folder.path, captions="mean", overwrite=True, progress=False, **how).sets[0].computed == N


def test_what_is_there_is_not_made_again(folder, clip):
    spec = f"clip:{clip}"
    first = embed(folder.path, text=spec, **QUIET)
    again = embed(folder.path, image=spec, text=spec, **QUIET)
    assert [one.computed for one in again.sets] == [N, 0]
    assert again.sets[1].encoder == first.sets[0].encoder
    with pytest.raises(ValueError, match="has text features clip already, made in another way: --overwrite"):
        embed(folder.path, text=spec, captions="first", **QUIET)
    assert embed(folder.path, text=spec, captions="first", name="short", **QUIET).sets[0].name == "short"
    assert embed(folder.path, text=spec, captions="first", overwrite=True, **QUIET).sets[0].computed == N
    assert set(Folder(folder.path).record.text) == {"clip", "short"}


def test_bags_are_fitted_on_the_training_rows(folder):
    embed(folder.path, text="bow", text_options={"weighting": "count"}, **QUIET)
    texts = joined(folder)
    want = BagOfWords.fit([texts[i] for i in folder.split("own").train], weighting="count")
    np.testing.assert_array_equal(set_of(folder, "text", "bow"), want.encode(texts))
    assert Folder(folder.path).record.text["bow"].fitted_on == "own"
    assert load(str(folder.path)).text_extractor.words == want.words
    embed(folder.path, text="bow", split="other", name="bow-other", **QUIET)
    with pytest.raises(ValueError, match="were fitted on the training rows of split other"):
        load(str(folder.path), text="bow-other")
    with pytest.raises(ValueError, match="has the split: own, other; got 'third'"):
        embed(folder.path, text="bow", split="third", name="b", **QUIET)


class Corners:
    """An extractor of one's own: the first and the last pixel of a picture."""

    kind, width = "corners", 6

    def encode(self, items):
        pixels = [np.asarray(item.open(), np.float32) for item in items]
        return np.stack([np.concatenate([p[0, 0], p[-1, -1]]) for p in pixels])

    def config(self):
        return {"kind": self.kind}

    def tensors(self):
        return {}

    @classmethod
    def from_config(cls, config, tensors):
        return cls()


def test_an_extractor_of_ones_own(folder, photos, monkeypatch):
    made = embed(folder.path, image=Corners(), batch_size=5, **QUIET)
    assert made.sets[0].name == "corners"
    np.testing.assert_array_equal(set_of(folder, "image", "corners"), Corners().encode(photos))
    assert load(str(folder.path)).image_extractor is None, "nothing could build it again"
    monkeypatch.setattr(base, "_KINDS", dict(base._KINDS))
    register(Corners)
    embed(folder.path, image=Corners(), name="kept", **QUIET)
    assert isinstance(load(str(folder.path), image="kept").image_extractor, Corners)
    with pytest.raises(TypeError, match="image must be an encoder's name or an extractor, got int"):
        embed(folder.path, image=3, **QUIET)
    with pytest.raises(ValueError, match="options are for encoders by name, got 'size'"):
        embed(folder.path, image=Corners(), name="new", image_options={"size": 3}, **QUIET)
    with pytest.raises(ValueError, match="damaged=zeros is for encoders by name"):
        embed(folder.path, image=Corners(), name="new", damaged="zeros", **QUIET)
    monkeypatch.setattr(Corners, "encode", lambda self, items: np.full((len(items), 6), np.nan, np.float32))
    with pytest.raises(ValueError, match=r"embed: corners: features of rows from 0 must be finite \[12, 6\]"):
        embed(folder.path, image=Corners(), name="new", **QUIET)


def test_damaged_pictures(folder, clip, photos):
    photos[3].path.write_bytes(photos[3].path.read_bytes()[:100])
    photos[7].path.unlink()
    with pytest.raises(ValueError, match=r"clip:.* pictures? of row 3: .*3\.png: not a readable picture") as caught:
        embed(folder.path, image=f"clip:{clip}", batch_size=2, workers=1, **QUIET)
    assert "\n" not in str(caught.value)
    made = embed(folder.path, image=f"clip:{clip}", damaged="zeros", **QUIET)
    assert made.sets[0].zeros == 2
    got = set_of(folder, "image")
    assert np.flatnonzero(~got.any(axis=1)).tolist() == [3, 7]
    rest = np.setdiff1d(np.arange(N), [3, 7])
    want = encoder(f"clip:{clip}", side="image").encode([photos[i] for i in rest])
    np.testing.assert_allclose(got[rest], want, **ROUNDING)
    assert Folder(folder.path).record.image["clip"].encoder["zeros"] == {"count": 2, "rows": [3, 7]}
    again = embed(folder.path, image=f"clip:{clip}", damaged="zeros", **QUIET)
    assert (again.sets[0].computed, again.sets[0].zeros) == (0, 2)


def test_bad_arguments(folder, clip, tmp_path):
    for settings, said in (
        ({}, "nothing to do: name an image or a text encoder"),
        ({"text": "bow", "captions": "all"}, "captions must be one of join, first, mean, got 'all'"),
        ({"text": "bow", "damaged": "skip"}, "damaged must be one of refuse, zeros"),
        ({"text": "bow", "batch_size": 0}, "batch_size must be a whole number from 1, got 0"),
        ({"text": "bow", "workers": True}, "workers must be a whole number from 1, got True"),
        ({"text": "bow", "device": "tpu"}, "embed: device must be one of auto, cpu, cuda, mps"),
        ({"text": "bow", "name": "a/b"}, "a name of features must be"),
        ({"text": "bow", "text_options": {"size": 3}}, "bow has the options: min_count"),
    ):
        with pytest.raises(ValueError, match=said):
            embed(folder.path, **(QUIET | settings))
    with pytest.raises(FileNotFoundError, match="embed: no prepared data set at"):
        embed(tmp_path / "none", text="bow", **QUIET)
    assert leftovers(folder) == []


def share_out(monkeypatch, folder, ranks, **settings):
    """One thread a process, each with its rank; what they raised or returned."""
    gate, own, results = threading.Barrier(ranks), threading.local(), {}

    def fabric(device, precision, op):
        return types.SimpleNamespace(
            device=torch.device("cpu"), global_rank=own.rank, world_size=ranks, barrier=lambda: gate.wait(20)
        )

    def work(rank):
        own.rank = rank
        try:
            results[rank] = embed(folder.path, **(QUIET | settings))
        except BaseException as error:
            results[rank] = error

    monkeypatch.setattr(run, "fabric_of", fabric)
    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def test_processes_share_the_rows(monkeypatch, folder, clip):
    spec = {"text": f"clip:{clip}", "batch_size": 2, "workers": 1}
    results = share_out(monkeypatch, folder, 3, **spec)
    assert [results[rank].sets[0].computed for rank in range(3)] == [4, 4, 4]
    assert [results[rank].first for rank in range(3)] == [True, False, False]
    want = encoder(f"clip:{clip}", side="text").encode(joined(folder))
    np.testing.assert_allclose(set_of(folder, "text"), want, **ROUNDING)
    assert leftovers(folder) == []


def test_interrupted_shares_go_on_with_as_many(monkeypatch, folder, clip):
    spec = {"text": f"clip:{clip}", "batch_size": 1, "workers": 1}
    real, rows = run.MatrixWriter.append, []

    def dies(writer, block):
        real(writer, block)
        rows.append(1)
        if len(rows) > 5:
            raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(run.MatrixWriter, "append", dies)
        results = share_out(patch, folder, 2, **spec)
    assert all(isinstance(result, OSError) for result in results.values())
    with pytest.raises(ValueError, match="is of an interrupted run of 2 processes, this one has 1: start as many"):
        embed(folder.path, **(QUIET | spec))
    results = share_out(monkeypatch, folder, 2, **spec)
    assert sum(results[rank].sets[0].computed for rank in range(2)) < N
    want = encoder(f"clip:{clip}", side="text").encode(joined(folder))
    np.testing.assert_allclose(set_of(folder, "text"), want, **ROUNDING)
    assert leftovers(folder) == []


class Pixels:
    """Something as large as a picture that can be counted."""

    def __init__(self, row):
        self.row = row


class Counting(NetworkEncoder):
    kind, items, batch = "counting", "pictures", (4, 4)

    def __init__(self):
        super().__init__()
        self.alive, self.most = weakref.WeakSet(), 0

    def load(self):
        return torch.nn.Identity()

    def _measure(self, network):
        return 2

    def read(self, item, name):
        made = Pixels(item)
        self.alive.add(made)
        self.most = max(self.most, len(self.alive))
        return made

    def run(self, network, batch, device):
        return torch.tensor([[pixels.row, 1.0] for pixels in batch])


class Numbers:
    """A column of row numbers that notes how far it was read."""

    read = 0

    def stream(self, start, stop):
        for i in range(start, stop):
            self.read = i + 1
            yield i


def test_few_pictures_are_held_at_once():
    """Four to a batch, three threads: never more than three batches of pixels, nor rows read far ahead."""
    gc.collect()
    made, column, done = Counting(), Numbers(), 0
    blocks = row_features(made, column, 0, 200, size=4, device=torch.device("cpu"), workers=3)
    for block in blocks:
        np.testing.assert_array_equal(block[:, 0], np.arange(done, done + 4))
        done += len(block)
        assert column.read - done <= 2 * 3 * 4
    assert done == 200
    assert 4 <= made.most <= 3 * 4 + 3, "a thread may let go of its last batch a little late"
