"""Encoding a corpus with one and two actors of Ray Data against one process: what the engine costs, where it pays.

python benchmarks/encoding.py                          -> results/encoding.md and .json; about three minutes
python benchmarks/encoding.py --quick --out FOLDER     tiny corpora, to see that all of it works

Every actor has one thread, as Ray gives it; one process has one, or all of the machine's. Codes are compared: all
ways give the same, to the bit.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import ray
import torch
from measured import RESULTS
from numpy.typing import NDArray
from PIL import Image

from fasthash import distributed
from fasthash._arguments import thread_count
from fasthash._files import replace_file
from fasthash.features.image import EfficientNetLite0
from fasthash.interop.arrow import read_parquet
from fasthash.models import HashModel
from fasthash.models.tower import Tower, TowerConfig

NAME = "encoding"
BITS, WIDTH, HIDDEN = 64, 512, 1024
ROWS, PICTURES, QUICK = 200_000, 2_000, 400
PART = {"features": 8_192, "pictures": 128}  # rows of a part
SIDE, NETWORK_SIDE = 256, 96  # pixels of a picture, and of what the network sees
ACTORS = (1, 2)

Codes = NDArray[np.uint8]


def make_features(folder: Path, rows: int) -> tuple[Path, HashModel, Callable[[HashModel], Codes]]:
    """A Parquet file of features, a model of one hidden layer, and how one process encodes one with the other."""
    x = np.random.default_rng(0).standard_normal((rows, WIDTH), np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), WIDTH)
    parquet.write_table(pa.table({"features": column}), folder / "x.parquet", row_group_size=PART["features"])
    model = HashModel(Tower(TowerConfig(WIDTH, (HIDDEN,), BITS)), Tower(TowerConfig(WIDTH, (), BITS)))

    def encode(model: HashModel) -> Codes:
        read = parquet.read_table(folder / "x.parquet").column(0).combine_chunks()
        return model.encode_image(read.flatten().to_numpy().reshape(-1, WIDTH))

    return folder / "x.parquet", model, encode


def make_pictures(folder: Path, rows: int) -> tuple[Path, HashModel, Callable[[HashModel], Codes]]:
    """JPEG files of noise that a decoder has work with, EfficientNet-Lite0 under a linear hash layer, likewise."""
    rng = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    for i in range(rows):
        noise = Image.fromarray(rng.integers(0, 256, (SIDE // 4, SIDE // 4, 3), dtype=np.uint8))
        noise.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / "pictures" / f"{i:06}.jpg", quality=90)
    extractor = EfficientNetLite0(NETWORK_SIDE)
    towers = [Tower(TowerConfig(extractor.width, (), BITS)) for _ in range(2)]
    model = HashModel(towers[0], towers[1], image_extractor=extractor)
    return folder / "pictures", model, lambda model: model.encode_image(sorted((folder / "pictures").glob("*.jpg")))


def alone(model: HashModel, encode: Callable[[HashModel], Codes], threads: int) -> tuple[Codes, dict[str, Any]]:
    """One process with so many threads; the network is loaded and warm."""
    torch.set_num_threads(threads)
    began = time.perf_counter()
    codes = encode(model)
    seconds = time.perf_counter() - began
    return codes, {
        "way": f"one process, {threads} thread{'s' * (threads > 1)}",
        "start": 0.0,
        "seconds": seconds,
        "rate": len(codes) / seconds,
    }


def with_actors(place: Path, model: HashModel, kind: str, count: int, out: Path) -> tuple[Codes, dict[str, Any]]:
    """So many actors. start: seconds until the first part; rate: rows per second from there on."""
    seen: list[tuple[float, int]] = []

    def report(done: int, total: int) -> None:
        seen.append((time.perf_counter(), done))

    began = time.perf_counter()
    made = distributed.encode(place, model, out=out, concurrency=count, rows_per_file=PART[kind], progress=report)
    seconds = time.perf_counter() - began
    first, last = next(at for at in seen if at[1] > 0), seen[-1]
    rate = (last[1] - first[1]) / max(last[0] - first[0], 1e-9)
    said = {"way": f"{count} actor{'s' * (count > 1)}", "start": first[0] - began, "seconds": seconds, "rate": rate}
    return codes_of(out, made.bits), said


def codes_of(out: Path, bits: int) -> Codes:
    return np.concatenate([codes for _, codes in read_parquet(out, bits).batches()])


def measure(kind: str, rows: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="fasthash-encoding-") as name:
        folder = Path(name)
        torch.manual_seed(0)
        place, model, encode = (make_features if kind == "features" else make_pictures)(folder, rows)
        found, ways = [], sorted({1, thread_count(None, "benchmark")})
        alone(model, encode, 1)
        found += [alone(model, encode, threads) for threads in ways]
        found += [with_actors(place, model, kind, count, folder / f"out-{count}") for count in ACTORS]
        for codes, said in found[1:]:
            if not np.array_equal(codes, found[0][0]):
                raise RuntimeError(f"encoding: {said['way']} gave other codes of {kind} than {found[0][1]['way']}")
    return [{"kind": kind, "rows": rows, **said} for _, said in found]


def pays_from(start: float, rate: float, alone: float) -> str:
    """Rows from which the actors are done sooner than one process: start + n / rate < n / alone."""
    return f"{start * rate * alone / (rate - alone):,.0f}" if rate > 1.05 * alone else "-"


def page(rows: list[dict[str, Any]], described: list[str]) -> str:
    lines = [
        "# Encoding a corpus: Ray Data against one process",
        "",
        f"Features: Parquet, {WIDTH} wide, a hidden layer of {HIDDEN}, {BITS} bits; {PART['features']:,} to a part.",
        f"Pictures: JPEG files, {SIDE} x {SIDE}, EfficientNet-Lite0 at {NETWORK_SIDE} x {NETWORK_SIDE} under a linear",
        f"hash layer; {PART['pictures']} to a part. Start: seconds until the first part is written, with the actors'",
        "imports; rows/s: from there on; all: seconds of the whole call. One process: without its imports. Pays from:",
        "rows from which the actors, with their start, are sooner done than the faster of one process, by these",
        "rates. All codes are the same, to the bit.",
        "",
        *described,
        "",
        "| corpus | rows | way | start | rows/s | all | pays from |",
        "|" + "---|" * 7,
    ]
    for row in rows:
        peers = [own["rate"] for own in rows if own["kind"] == row["kind"] and not own["start"]]
        pays = pays_from(row["start"], row["rate"], max(peers)) if row["start"] else ""
        times = f"{format(row['start'], '.1f') if row['start'] else ''} | {row['rate']:,.0f} | {row['seconds']:.1f}"
        lines.append(f"| {row['kind']} | {row['rows']:,} | {row['way']} | {times} | {pays} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny corpora: shows that it runs, no more")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER", help="instead of benchmarks/results")
    arguments = parser.parse_args()
    if arguments.quick and arguments.out.resolve() == RESULTS.resolve():
        parser.error("--quick wants --out FOLDER: benchmarks/results is for measurements")
    arguments.out.mkdir(parents=True, exist_ok=True)
    ray.init("local", num_cpus=max(ACTORS), include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    rows = []
    for kind, count in (("features", ROWS), ("pictures", PICTURES)):
        rows += measure(kind, QUICK if arguments.quick else count)
        print(rows[-1], file=sys.stderr, flush=True)
    described = machine.described(("ray", "torch", "pyarrow", "pillow"))
    entries = ",\n".join(json.dumps(row) for row in rows)
    texts = {
        f"{NAME}.json": f'{{"machine": {json.dumps(described)},\n"rows": [\n{entries}\n]}}\n',
        f"{NAME}.md": page(rows, described),
    }
    for name, text in texts.items():
        replace_file(arguments.out / name, lambda path, text=text: path.write_text(text))
        print(os.path.relpath(arguments.out / name))


if __name__ == "__main__":
    main()
