"""Codes handed over to other systems and taken back: every bit, id and distance stays.

    pip install 'fasthash[faiss,usearch,lance,arrow]'
    python examples/codes_into_other_systems.py

Prints, for each system, whether the codes that come back are those that went in, and how many of the distances it finds
for 100 queries are those of an exact search: all of them, where it scans.
"""

import tempfile
from pathlib import Path

import numpy as np

from fasthash.interop import arrow, faiss, lance, usearch
from fasthash.search import BinaryIndex, load, write_shards

BITS, ROWS, K = 64, 5000, 10


def clustered(rng: np.random.Generator, rows: int, centres: np.ndarray) -> np.ndarray:
    """Packed codes that differ from one of the centres in one bit of twelve."""
    flips = np.packbits(rng.random((rows, BITS)) < 1 / 12, axis=1)
    return centres[rng.integers(0, len(centres), rows)] ^ flips


def show(system: str, back: BinaryIndex, index: BinaryIndex, found: np.ndarray, exact: np.ndarray) -> None:
    same = np.array_equal(back.codes, index.codes) and np.array_equal(back.ids, index.ids)
    print(f"{system:22} codes and ids {'equal' if same else 'DIFFER'}, distances {(found == exact).mean():.1%} exact")


def main() -> None:
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 256, (200, BITS // 8), dtype=np.uint8)
    index = BinaryIndex(BITS)
    index.add(clustered(rng, ROWS, centres), ids=rng.choice(2**40, ROWS, replace=False))
    queries = clustered(rng, 100, centres)
    exact, _ = index.search(queries, K)

    for kind in ("flat", "ivf", "hnsw"):
        live = faiss.to_faiss(index, kind)
        show(f"FAISS {kind}", faiss.from_faiss(live), index, live.search(queries, K)[0], exact)

    graph = usearch.to_usearch(index)
    show("USearch", usearch.from_usearch(graph), index, graph.search(queries, K).distances, exact)

    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder, "lance")
        lance.write_lance(index, database, "codes")
        found, _ = lance.search_lance(database, "codes", queries, K)
        show("LanceDB", lance.read_lance(database, "codes"), index, found, exact)

        arrow.write_parquet(index, Path(folder, "codes.parquet"))
        rows = arrow.parquet_batches(Path(folder, "codes.parquet"))
        write_shards(Path(folder, "shards"), rows, rows.bits, rows_per_shard=ROWS // 4)
        shards = load(Path(folder, "shards"))
        back = arrow.read_parquet(Path(folder, "codes.parquet"))
        show("Parquet to 4 shards", back, index, shards.search(queries, K)[0], exact)


if __name__ == "__main__":
    main()
