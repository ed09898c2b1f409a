"""The benchmark of shards: what it makes of the seconds, and the page. No time is asserted, no actor started."""

import numpy as np
import pytest
import sharded


def test_codes_are_made_by_blocks_and_are_the_same_each_time():
    made = [np.concatenate(list(sharded.blocks((1 << 20) + 5))) for _ in range(2)]
    assert made[0].shape == ((1 << 20) + 5, 8)
    assert np.array_equal(*made)


def test_a_contestant_is_compared_within_the_round():
    base, own = [[1.0], [2.0], [4.0]], [[2.0, 2.0], [4.0, 4.0], [8.0, 8.0]]
    row = sharded.row_of(100, 16, "2 shards", 2, base, own)
    assert (row.ratio, row.spread) == (0.5, (0.5, 0.5))
    assert row.throughput == 16 / 4.0
    assert (row.median, row.p99, row.calls) == (4.0, None, 6)
    many = sharded.row_of(100, 1, "1 shard", 2, base, [[1.0] * 33 + [9.0], [1.0] * 33, [1.0] * 34])
    assert (many.median, many.p99, many.calls) == (1.0, 1.0, 101)


def test_every_contestant_is_asked_in_every_round():
    asked = {"one process": [], "1 shard": []}
    searches = {name: ((lambda queries, own=own: own.append(len(queries))), 2) for name, own in asked.items()}
    rows = sharded.measure(50, 16, searches, 3)
    assert [row.contestant for row in rows] == ["one process", "1 shard"]
    for row in rows:
        assert row.calls % 3 == 0
        assert asked[row.contestant] == [16] * (row.calls + 2)  # two to warm up


def test_the_page_says_from_which_size_shards_pay():
    rows = []
    for codes in (sharded.NOTHING, 1_000_000):
        for batch in sharded.BATCHES:
            times = {"one process": codes * 1e-9, "1 shard": 1e-3, "2 shards": 2e-3, "4 shards": 3e-3}
            for name, seconds in times.items():
                rows.append(sharded.Row(codes, batch, name, 2, seconds, None, 1 / seconds, 1.0, (1.0, 1.0), 7))
    line = sharded.pays(rows)[2]
    # 2 ms of engine against half of 1 ns a code; 3 ms against three quarters; a tenth of the scan is 1 ms
    assert line == "| 1 | 2,000 | 1 | 4,000,000 | 4,000,000 | 10,000,000 |"
    page = sharded.page(rows, {"restart": 1.5, "add": 0.01, "remove": 0.02}, ["- machine: some"])
    assert page.count("| 1 shard | 2 |") == 6
    assert "- machine: some" in page
    assert line in page
    assert "1.50 s from the end of an actor's process" in page


def test_a_quick_run_does_not_write_among_the_results(monkeypatch):
    monkeypatch.setattr("sys.argv", ["sharded.py", "--quick"])
    with pytest.raises(SystemExit):
        sharded.main()
