"""Shard: slices of the rows, and the same random numbers however many processes draw them."""

import pytest
import torch

from fasthash.losses import CodeBank, Shard
from fasthash.losses import shard as module
from fasthash.ops import pack_labels


@pytest.mark.parametrize(("n", "world"), [(7, 1), (7, 2), (7, 3), (6, 3), (3, 3), (100, 7)])
def test_slices_cover_the_rows_once_and_differ_by_one_row_at_most(n, world):
    shards = [Shard(n, rank, world) for rank in range(world)]
    rows = torch.arange(n)
    assert torch.equal(torch.cat([shard.own(rows) for shard in shards]), rows)
    assert shards[0].counts == [len(shard) for shard in shards]
    assert max(shards[0].counts) - min(shards[0].counts) <= 1
    labels = pack_labels(torch.eye(n))
    assert torch.equal(torch.cat([shard.own(labels).words for shard in shards]), labels.words)


def test_mine_are_places_in_the_batch_and_rows_of_what_is_kept():
    place, rows = Shard(10, 1, 3).mine(torch.tensor([9, 4, 0, 6, 3]))  # it keeps rows 4 to 6
    assert place.tolist() == [1, 3]
    assert rows.tolist() == [0, 2]


@pytest.mark.parametrize(("n", "width"), [(65, 5), (64, 16), (200, 7), (3, 1), (4000, 3)])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_draws_are_those_of_one_process(n, width, world, monkeypatch):
    monkeypatch.setattr(module, "_PART", 64)
    torch.manual_seed(5)
    want, after = torch.randn(n, width), torch.rand(3)
    drawn = []
    for rank in range(world):
        torch.manual_seed(5)
        drawn.append(Shard(n, rank, world).randn(width))
        assert torch.equal(torch.rand(3), after), "what is drawn next is the same, too"
    assert torch.equal(torch.cat(drawn), want)


def test_a_bank_refuses_rows_that_are_not_the_shards():
    with pytest.raises(ValueError, match=r"CodeBank: codes must be the 3 rows of the shard, got float32 \[7, 2\]"):
        CodeBank(torch.zeros(7, 2), Shard(7, 0, 3))
    assert repr(CodeBank(torch.zeros(2, 4), Shard(7, 1, 3))) == "CodeBank(7 (rows 3 to 5), bits=4)"


def test_too_many_processes():
    with pytest.raises(ValueError, match="2 training pairs are too few for 3 processes; start fewer"):
        Shard(2, 0, 3)
    with pytest.raises(ValueError, match="Shard: rank must be from 0 to 1, got 2"):
        Shard(5, 2, 2)
