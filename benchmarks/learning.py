"""Scores of a method over code lengths and seeds, as a table under results/.

Usage: python benchmarks/learning.py DATA METHOD --bits 16 32 64 --seeds 0 1 2 [--text both] [--runs FOLDER]

Finished runs in the folder are used again and interrupted ones go on, so the grid can be stopped at any time.
"""

from __future__ import annotations

import argparse
import platform
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import cpu_name

from fasthash import __version__, data
from fasthash._files import replace_file
from fasthash.evaluation import PROTOCOLS, random_codes, score
from fasthash.training import train

RESULTS = Path(__file__).parent / "results"
AT_THE_END = 1000  # epochs between evaluations, more than any run has: the last epoch is always evaluated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("method")
    parser.add_argument("--bits", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--text", help="the data set's text option")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    args = parser.parse_args()
    options = {"text": args.text} if args.text else {}
    dataset = data.load(args.data, **options)
    rows = [row(dataset, args, bits) for bits in args.bits]
    target = RESULTS / f"learning_{args.data}_{args.method}.md"
    text = page(dataset, args, rows)
    replace_file(target, lambda path: path.write_text(text, encoding="utf-8"))
    print(text)


def row(dataset: data.PairedDataset, args: argparse.Namespace, bits: int) -> str:
    """One line of the table: mean and standard deviation over the seeds, both directions of each protocol."""
    runs = []
    for seed in args.seeds:
        folder = args.runs / f"{args.data}-{args.method}-{bits}-{seed}"
        runs.append(train(args.method, dataset, bits=bits, seed=seed, out=folder, resume=True, eval_every=AT_THE_END))
    chance = score(random_codes(dataset, bits), dataset)
    cells = [str(bits)]
    for protocol in PROTOCOLS:
        for direction in ("i2t", "t2i"):
            cells.append(spread([run.scores.scores[protocol][direction].value for run in runs if run.scores]))
    cells += [f"{chance.i2t:.3f} / {chance.t2i:.3f}", f"{statistics.median(run.seconds for run in runs):.0f} s"]
    return "| " + " | ".join(cells) + " |"


def spread(values: list[float]) -> str:
    """Mean, and the sample standard deviation where there are several."""
    mean = f"{statistics.mean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


def page(dataset: data.PairedDataset, args: argparse.Namespace, rows: list[str]) -> str:
    heads = ["bits"]
    for protocol in PROTOCOLS:
        heads += [f"{protocol} i→t", f"{protocol} t→i"]
    heads += ["random codes, map_all", "training"]
    bits, seeds = (" ".join(map(str, values)) for values in (args.bits, args.seeds))
    command = f"python benchmarks/learning.py {args.data} {args.method} --bits {bits} --seeds {seeds}"
    command += f" --text {args.text}" if args.text else ""
    lines: list[Any] = [
        f"# {args.method} on {args.data}",
        "",
        f"{len(dataset.split.query):,} queries against {len(dataset.split.database):,} items, the training pairs among"
        " them; finest label; the model of the last epoch.",
        f"Mean ± standard deviation over {len(args.seeds)} seeds. Ties: expected, except where the column says stable.",
        "Training time is the median over the seeds, on a shared machine.",
        "",
        f"- machine: {cpu_name()}",
        f"- versions: fasthash {__version__}, torch {torch.__version__}, numpy {np.__version__}, "
        f"Python {platform.python_version()}",
        f"- data checksum: {dataset.checksum()}",
        f"- command: `{command}`",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
        *rows,
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
