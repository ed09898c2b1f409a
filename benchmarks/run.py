"""Interleaved comparisons with the peers, written as Markdown to benchmarks/results.

python benchmarks/run.py hamming            one topic: benchmarks/cases_hamming.py
python benchmarks/run.py hamming --dry-run  print the page, write nothing
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import platform
import sys
from pathlib import Path

from cases import Case, Report
from interleave import Timing, interleave

import fasthash
from fasthash._files import replace_file
from fasthash._hamming import thread_count
from fasthash._native import isa_names

HERE = Path(__file__).parent


def topics() -> list[str]:
    return sorted(path.stem.removeprefix("cases_") for path in HERE.glob("cases_*.py"))


def run_cases(report: Report) -> list[tuple[Case, dict[str, Timing]]]:
    done = []
    for case in report.cases():
        if case.check is not None:
            case.check()
        timings = interleave(case.contestants, baseline=case.baseline, rounds=report.rounds)
        print(f"{case.name}: " + ", ".join(f"{n} {t.ratio:.2f}x" for n, t in timings.items()), file=sys.stderr)
        done.append((Case(case.name, dict.fromkeys(case.contestants, _nothing), case.baseline, case.work), timings))
    return done


def _nothing() -> None:
    """In place of a contestant that has been timed: its data can go."""


def page(report: Report, done: list[tuple[Case, dict[str, Timing]]]) -> str:
    lines = [f"# {report.title}", "", *report.notes, ""]
    lines += ["Medians of interleaved rounds; in brackets, how many times as fast as the baseline, marked *,"]
    lines += [
        f"in the same round (median and middle half of {report.rounds} rounds). The machine is shared: only the ratios"
        " count, and where the middle half is wide, not even those.",
        "",
    ]
    lines += [f"- machine: {cpu_name()}, {thread_count(None, 'benchmark')} cores; {', '.join(isa_names())}"]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in report.versions]
    lines += [f"- versions: fasthash {fasthash.__version__}, {', '.join(versions)}, Python {platform.python_version()}"]
    lines += [f"- command: `python benchmarks/run.py {' '.join(sys.argv[1:])}`", ""]
    while done:  # cases with the same contestants share a table
        names = list(done[0][1])
        same = [entry for entry in done if list(entry[1]) == names]
        done = [entry for entry in done if list(entry[1]) != names]
        lines += [f"| case | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
        for case, timings in same:
            cells = [cell(report, case, name, timings[name]) for name in names]
            lines.append(f"| {case.name} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def cell(report: Report, case: Case, name: str, timing: Timing) -> str:
    if case.work:
        value = f"{timing.median / case.work * 1e9:.3g} ns/{report.unit}"
    else:
        value = f"{timing.median:.3g} s" if timing.median >= 0.1 else f"{timing.median * 1e3:.3g} ms"
    if name == case.baseline:
        return f"{value} *"
    return f"{value} ({timing.ratio:.2f}; {timing.spread[0]:.2f} to {timing.spread[1]:.2f})"


def cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topic", choices=topics())
    parser.add_argument("--dry-run", action="store_true", help="print the page, write nothing")
    arguments = parser.parse_args()
    report = importlib.import_module(f"cases_{arguments.topic}").report()
    text = page(report, run_cases(report))
    if arguments.dry_run:
        print(text)
        return
    target = HERE / "results" / f"{report.file}.md"
    target.parent.mkdir(exist_ok=True)
    replace_file(target, lambda temporary: temporary.write_text(text))
    print(os.path.relpath(target))


if __name__ == "__main__":
    main()
