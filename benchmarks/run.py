"""Interleaved comparisons with the peers, written as Markdown, with the samples as JSON, to benchmarks/results.

python benchmarks/run.py hamming            one topic: benchmarks/cases_hamming.py
python benchmarks/run.py hamming --dry-run  print the page, write nothing
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

import machine
import memory
from cases import Case, Report
from goals import goal_table
from interleave import Timing, interleave
from measured import RESULTS, Measured, save

from fasthash._files import replace_file

HERE = Path(__file__).parent
MIB = 1 << 20


def topics() -> list[str]:
    return sorted(path.stem.removeprefix("cases_") for path in HERE.glob("cases_*.py"))


def load_report(topic: str, *, quick: bool) -> Report:
    made: Report = importlib.import_module(f"cases_{topic}").report(quick=quick)
    return made


def run_cases(report: Report) -> list[Measured]:
    done = []
    for case in report.cases():
        if case.check is not None:
            case.check()
        timings = interleave(case.contestants, baseline=case.baseline, rounds=case.rounds or report.rounds)
        print(f"{case.name}: " + ", ".join(f"{n} {t.ratio:.2f}x" for n, t in timings.items()), file=sys.stderr)
        done.append(_measured(case, timings))
    return done


def _measured(case: Case, timings: dict[str, Timing]) -> Measured:
    """Without the contestants, so that their data can go."""
    seconds = {name: [s * case.times.get(name, 1) for s in timing.samples] for name, timing in timings.items()}
    return Measured(case.name, case.baseline, case.work, seconds, {}, case.goals)


def measure_memory(report: Report, done: list[Measured], topic: str, *, quick: bool) -> None:
    """Fill in the peak memory of each contestant, one fresh process each, after everything has been timed."""
    for case in done:
        for name in case.seconds:
            if name not in report.without_memory:
                case.memory[name] = memory.peak_of(topic, case.name, name, quick=quick)
        print(f"{case.name}: memory", file=sys.stderr)


def page(report: Report, done: list[Measured], where: list[str]) -> str:
    """Markdown: title, notes, machine, what was asked and reached, times, peak memory."""
    lines = [f"# {report.title}", "", *report.notes, "", *where, ""]
    goals = [row for case in done for row in case.reached()]
    if goals:
        lines += ["## Asked and reached", "", "Medians over the rounds of the figure within a round.", ""]
        lines += [*goal_table(goals), "", "## Times", ""]
    lines += ["Medians of interleaved rounds; in brackets, how many times as fast as the baseline, marked *,"]
    lines += [f"in the same round (median and middle half of {report.rounds} rounds)."]
    lines += ["On a shared machine only the ratios count, and where the middle half is wide, not even those.", ""]
    lines += _tables(done, lambda case, name: cell(case, name, report.unit))
    if any(case.memory for case in done):
        lines += ["## Peak memory", ""]
        lines += ["The most that one call holds beyond the loaded data, and a peer's own index over it, in MiB;"]
        lines += ["native memory counts. Each in a process of its own, to within half a MiB.", ""]
        lines += _tables(done, lambda case, name: f"{case.memory[name] / MIB:,.1f}" if name in case.memory else "–")
    return "\n".join(lines)


def _tables(cases, text) -> list[str]:
    """Cases with the same contestants share a table, in order of first appearance."""
    lines, left = [], list(cases)
    while left:
        names = list(left[0].seconds)
        same = [case for case in left if list(case.seconds) == names]
        left = [case for case in left if list(case.seconds) != names]
        lines += [f"| case | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
        lines += [f"| {case.name} | {' | '.join(text(case, name) for name in names)} |" for case in same]
        lines.append("")
    return lines


def cell(case: Measured, name: str, unit: str) -> str:
    timing = case.timings[name]
    if case.work:
        value = f"{timing.median / case.work * 1e9:.3g} ns/{unit}"
    else:
        value = f"{timing.median:.3g} s" if timing.median >= 0.1 else f"{timing.median * 1e3:.3g} ms"
    if name == case.baseline:
        return f"{value} *"
    return f"{value} ({timing.ratio:.2f}; {timing.spread[0]:.2f} to {timing.spread[1]:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topic", choices=topics())
    parser.add_argument("--dry-run", action="store_true", help="print the page, write nothing")
    parser.add_argument("--quick", action="store_true", help="sizes that take seconds: shows that it runs, no more")
    parser.add_argument("--no-memory", action="store_true", help="do not measure peak memory")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER", help="instead of benchmarks/results")
    arguments = parser.parse_args()
    if arguments.quick and not arguments.dry_run and arguments.out.resolve() == RESULTS.resolve():
        parser.error("--quick wants --out FOLDER or --dry-run: benchmarks/results is for measurements")
    report = load_report(arguments.topic, quick=arguments.quick)
    where = machine.described(report.versions)
    done = run_cases(report)
    if report.case is not None and memory.supported() and not arguments.no_memory:
        measure_memory(report, done, arguments.topic, quick=arguments.quick)
    text = page(report, done, where)
    if arguments.dry_run:
        print(text)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    target = arguments.out / f"{report.file}.md"
    replace_file(target, lambda temporary: temporary.write_text(text))
    save(target.with_suffix(".json"), where, done)
    print(os.path.relpath(target))


if __name__ == "__main__":
    main()
