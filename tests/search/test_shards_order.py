"""Rows of shards in the order of their ids, and what goes with them."""

import numpy as np
import pytest

from fasthash.search import load, shard_order, write_shards
from fasthash.search.snapshot import Snapshot


def test_windows_are_no_larger_than_asked(tmp_path):
    rng = np.random.default_rng(0)
    ids = rng.permutation(600)
    blocks = ((ids[at : at + 10], np.zeros((10, 1), np.uint8)) for at in range(0, 600, 10))
    rows = [index._rows for index in write_shards(tmp_path / "s", blocks, 8, rows_per_shard=50).indexes]
    assert len(rows) == 12
    for size in (1, 7, 50, 1000):
        found = list(shard_order.windows(rows, size))
        assert [window.stop for window in found[:-1]] == [window.start for window in found[1:]]
        assert max(window.stop - window.start for window in found) <= max(size, 12)
        np.testing.assert_array_equal(
            np.concatenate([shard_order.ids_of(rows, window) for window in found]), np.arange(600)
        )
    assert sum(len(codes) for _, codes in load(tmp_path / "s").batches(64)) == 600


@pytest.mark.parametrize("mixed", [False, True])
def test_masks_of_shards_of_every_size(mixed):
    """Sizes and places that fill no whole byte; a mask has no bits behind its rows."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        sizes = rng.integers(0, 40, 5)
        n = int(sizes.sum())
        ids = rng.permutation(n) if mixed else np.arange(n)
        parts = [np.sort(part) for part in np.split(ids, np.cumsum(sizes)[:-1])]
        rows = [Snapshot(np.zeros((len(part), 1), np.uint8), part, len(part)) for part in parts]
        allow = rng.random(n) < 0.5
        for part, mask in zip(parts, shard_order.split_mask(rows, np.packbits(allow)), strict=True):
            np.testing.assert_array_equal(mask, np.packbits(allow[part]))
