"""Rows of pictures: the same looks at every run, whatever the batches, threads, cache and interruptions."""

import threading

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_backbone import Tiny

from fasthash.models.backbones._transform import View
from fasthash.models.inputs import Rows
from fasthash.models.pictures import PictureRows, announced

RNG = np.random.default_rng(0)
PICTURES = [RNG.integers(0, 256, (24 + i, 30, 3), dtype=np.uint8) for i in range(10)]
ALL = torch.arange(10)


def rows(**options):
    return PictureRows(PICTURES, Tiny(), **options)


def test_is_rows_of_its_backbone():
    made = rows()
    assert isinstance(made, Rows)
    assert (len(made), made.width) == (10, 8)
    taken = made.take(torch.tensor([3, 1]))
    assert (taken.shape, taken.dtype) == ((2, 3, 16, 16), torch.uint8)


def test_looks_follow_from_seed_epoch_and_row_alone():
    one, other = rows(seed=4), rows(seed=4, workers=1, cache_bytes=0)
    for epoch in (0, 1, 5):
        one.begin_epoch(epoch)
        other.begin_epoch(epoch)
        whole = one.take(ALL)
        order = torch.tensor([7, 2, 9, 0])
        assert torch.equal(other.take(order), whole[order])
        assert torch.equal(other.take(order), whole[order])  # asked for twice in a step
    late = rows(seed=4)
    late.begin_epoch(5)  # as after a resume
    assert torch.equal(late.take(ALL), whole)


def test_looks_change_with_epoch_and_seed():
    made = rows(seed=1)
    first = made.take(ALL)
    made.begin_epoch(1)
    assert not torch.equal(made.take(ALL), first)
    assert not torch.equal(rows(seed=2).take(ALL), first)


def test_the_test_view_never_changes():
    made = rows(train=False)
    first = made.take(ALL)
    made.begin_epoch(3)
    assert torch.equal(made.take(ALL), first)
    want = np.asarray(Image.fromarray(PICTURES[4]).resize((21, 20), Image.Resampling.BILINEAR))[2:18, 2:18]
    np.testing.assert_array_equal(first[4].permute(1, 2, 0).numpy(), want)


def test_mean_is_that_of_the_features(monkeypatch):
    made = rows()
    made.backbone.train()
    with torch.no_grad():
        features = made.backbone.eval()(rows(train=False).take(ALL))
        made.backbone.train()
    torch.testing.assert_close(made.mean(), features.mean(dim=0))
    assert made.backbone.training
    assert not made.mean().requires_grad
    monkeypatch.setattr("fasthash.models.pictures.MEAN_ROWS", 4)  # every third row
    torch.testing.assert_close(made.mean(), features[::3].mean(dim=0))


@pytest.fixture
def opened(monkeypatch):
    """Row numbers in the order in which pictures are decoded."""
    from fasthash.models.backbones import _transform

    seen, original, lock = [], _transform.open_picture, threading.Lock()

    def counting(item, name):
        with lock:
            seen.append(int(name.split()[1]))
        return original(item, name)

    monkeypatch.setattr(_transform, "open_picture", counting)
    return seen


def test_scaled_pictures_are_kept_up_to_the_bound(opened):
    one = Tiny().transform.train.base(PICTURES[0], "picture 0").nbytes
    opened.clear()
    made = rows(cache_bytes=3 * one + 600, workers=1)
    for epoch in range(3):
        made.begin_epoch(epoch)
        made.take(ALL)
    assert sum(base.nbytes for base in made._kept.values()) <= 3 * one + 600
    assert [opened.count(row) for row in range(10)] == [1, 1, 1] + [3] * 7


def test_announced_rows_are_made_once_and_ahead(opened):
    made = rows(workers=2)
    order, looks, make = [], [], made._make

    def counting(row, epoch):
        looks.append(row)
        return make(row, epoch)

    made._make = counting
    for batch in announced(ALL.split(2), made.announce):
        order.append(batch.tolist())
        assert sum(row in made._looks for row in range(10)) >= min(6, 10 - batch[0])
        made.take(batch)
        made.take(batch)
    assert order == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert sorted(looks) == sorted(opened) == list(range(10))
    assert len(made._looks) <= 8  # four batches


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7])
def test_announced_hands_out_every_batch_in_order(n):
    told = []
    batches = [torch.tensor([i]) for i in range(n)]
    for i, batch in enumerate(announced(iter(batches), told.append)):
        assert batch is batches[i]
        assert len(told) == min(n, i + 3)
    assert told == batches


def test_what_cannot_be_read_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    made = PictureRows([tmp_path / "broken.png", tmp_path / "gone.png", np.zeros((4, 4), np.float32)], Tiny())
    with pytest.raises(ValueError, match=r"broken.png: not a readable picture"):
        made.take(torch.tensor([0]))
    with pytest.raises(FileNotFoundError, match=r"gone.png"):
        made.take(torch.tensor([1]))
    with pytest.raises(ValueError, match=r"picture 2: an array must be uint8"):
        made.take(torch.tensor([2]))


def test_close_ends_the_threads():
    made = rows(workers=3)
    made.take(ALL)
    made.close()
    assert not made._looks
    with pytest.raises(RuntimeError):
        made.take(ALL)


@pytest.mark.parametrize("shape", [(600, 400), (400, 600), (2000, 224)])
def test_what_the_cache_keeps_is_no_view_of_more(shape):
    """Its limit counts the bytes of the square: the rest of a tall picture must not stay alive behind it."""
    view = View(size=224, resize=224).base(Image.fromarray(np.zeros((*shape, 3), np.uint8)))
    assert view.shape == (224, 224, 3)
    assert view.flags.owndata
