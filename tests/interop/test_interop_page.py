"""The lines on docs/interop.md run as they stand."""

import re
from pathlib import Path

import numpy as np
import pytest
from interop_indexes import assert_same, made, queries_of

PAGE = Path(__file__).parents[2] / "docs" / "interop.md"
NEEDS = {
    "FAISS": "faiss",
    "USearch": "usearch",
    "LanceDB": "lancedb",
    "Arrow and Parquet": "pyarrow",
    "sentence-transformers": "sentence_transformers",
}


def section(title):
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert found, f"docs/interop.md has no section {title}"
    return found[1]


@pytest.mark.parametrize("title", NEEDS)
def test_the_lines_run(title, tmp_path, monkeypatch):
    pytest.importorskip(NEEDS[title])
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", section(title), re.S)
    index = made(64, 900)
    embeddings = np.random.default_rng(0).standard_normal((200, 128)).astype(np.float32)
    names = {"index": index, "queries": queries_of(index), "embeddings": embeddings}
    exec(compile(code, f"docs/interop.md, {title}", "exec"), names)
    if "same" in names:
        assert_same(names["same"], index)
    if title == "FAISS":
        assert (names["near"] <= 20).all()
        np.testing.assert_array_equal(names["lims"], index.range_search(names["queries"], 20)[0])
    if title == "Arrow and Parquet":
        assert len(names["shards"]) == 900
    if title == "sentence-transformers":
        assert [hits[0]["corpus_id"] for hits in names["hits"]] == list(range(5))
        assert names["ids"][:, 0].tolist() == list(range(5))


def test_every_extra_that_it_names_exists():
    declared = (PAGE.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    extras = re.findall(r"fasthash\[(\w+)\]", PAGE.read_text(encoding="utf-8"))
    assert {"faiss", "usearch", "lance", "arrow"} <= set(extras)
    for extra in extras:
        assert re.search(rf"^{extra} = ", declared, re.M), extra
