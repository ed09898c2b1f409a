"""The benchmark of PostgreSQL at tiny sizes: what it measures and writes. No time is asserted."""

import json
import sys

import numpy as np
import postgres as benchmark
import pytest
from postgres_server import PostgresServer


def test_made_codes_lie_in_clusters():
    index, queries = benchmark.make(2_000, 20)
    assert (len(index), index.bits, queries.shape) == (2_000, 64, (20, 8))
    nearest = index.search(queries, 10)[0]
    assert nearest.mean() < 16  # twice 64 x NOISE at most; codes at random: 17 or more
    assert np.array_equal(benchmark.make(2_000, 20)[0].codes, index.codes)


def test_a_quick_run_writes_page_and_numbers(tmp_path, monkeypatch):
    pytest.importorskip("psycopg")
    try:
        PostgresServer().close()
    except RuntimeError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(sys, "argv", ["postgres.py", "--quick", "--out", str(tmp_path)])
    benchmark.main()
    found = json.loads((tmp_path / "postgres.json").read_text())
    assert found["moved"]["rows"] == benchmark.QUICK_ROWS
    assert set(found["scanned"]) == {"BinaryIndex", "hamming_distance (pgvector)", "bit_count"}
    recalls = [row["recall"] for row in found["graphed"]["searches"].values()]
    assert all(0 < recall <= 1 for recall in recalls)
    assert recalls[-1] == 1
    page = (tmp_path / "postgres.md").read_text()
    assert "## 2,000 rows by COPY" in page
    assert page.count("\n| exact | 1.000 |") == 1


def test_results_are_for_measurements(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["postgres.py", "--quick"])
    with pytest.raises(SystemExit):
        benchmark.main()
    assert "--quick wants --out FOLDER" in capsys.readouterr().err
