"""The examples of docs/scale.md run, one after the other, and do what the text says."""

import re
from pathlib import Path

import hamming_truth as truth
import numpy as np

from fasthash import metrics
from fasthash.search import Shards

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


def test_examples_of_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    queries, codes = truth.codes(nq=5, nb=700)
    rng = np.random.default_rng(0)
    labels, query_labels = rng.integers(0, 4, 700), rng.integers(0, 4, 5)
    np.save("labels.npy", labels)
    space = {"np": np, "queries": queries, "query_labels": query_labels, "blocks": iter([codes[:400], codes[400:]])}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, space)
    assert isinstance(space["shards"], Shards)
    assert sorted(path.name for path in Path("codes").iterdir()) == ["shard-00000.safetensors", "shards.json"]
    truth.assert_same((space["distances"], space["ids"]), truth.topk(queries, codes, 10))
    want = metrics.evaluate(queries, codes, query_labels, labels, bits=64)
    assert space["scores"].value == want.value
