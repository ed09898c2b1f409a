"""Remake every table and picture of benchmarks/results, one after the other.

python benchmarks/remake.py                                   on an idle machine, or the times say little
python benchmarks/remake.py --only hamming scaling pictures
python benchmarks/remake.py --quick --out FOLDER              a tiny run of what can be tiny, to see that it works

The table of benchmarks/compare.json is made by its own command, `fasthash compare`.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

import run
from measured import RESULTS

HERE = Path(__file__).parent
WITHOUT_QUICK = ("triton_aot", "cuda_ptxas")
SCALING = ("scaling", "loss_scaling")  # scripts of their own, with pictures


def steps(out: Path) -> dict[str, list[str]]:
    """Step -> command; the pictures, made from what the others measured, come last."""
    # The pages name their command: the folder is in it only where it is not the usual one.
    folder = [] if out == RESULTS else ["--out", str(out)]
    found = {"triton_aot": ["-m", "fasthash._kernels.aot", "--write", str(out / "triton_aot.md")]}
    found["cuda_ptxas"] = [str(HERE / "cuda_report.py"), "--write", str(out / "cuda_ptxas.md")]
    found |= {topic: [str(HERE / "run.py"), topic, *folder] for topic in run.topics()}
    found |= {name: [str(HERE / f"{name}.py"), *folder] for name in SCALING}
    found["pictures"] = [str(HERE / "pictures.py"), *folder]
    return found


def why_left_out(name: str) -> str | None:
    """What this machine lacks for the step, in one line; None where it has all."""
    if name == "cuda_ptxas" and not shutil.which("nvcc"):
        return "nvcc is not on PATH"
    if name.endswith("_gpu"):
        why: str | None = importlib.import_module(f"cases_{name}").why_no_device()
        return why
    return None


def main() -> None:
    names = list(steps(RESULTS))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, metavar="STEP", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="tiny sizes; steps that cannot be tiny are left out")
    parser.add_argument("--no-memory", action="store_true", help="do not measure peak memory")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER", help="instead of benchmarks/results")
    arguments = parser.parse_args()
    if arguments.quick and arguments.out.resolve() == RESULTS.resolve():
        parser.error("--quick wants --out FOLDER: benchmarks/results is for measurements")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, command in steps(arguments.out).items():
        if (arguments.only and name not in arguments.only) or (arguments.quick and name in WITHOUT_QUICK):
            continue
        why = why_left_out(name)
        if why is not None:
            print(f"{name}: left out: {why}", file=sys.stderr)
            continue
        measures = name in SCALING or name in run.topics()
        options = ["--quick"] * (arguments.quick and measures)
        options += ["--no-memory"] * (arguments.no_memory and name in run.topics())
        start = time.perf_counter()
        subprocess.run([sys.executable, *command, *options], check=True)
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
