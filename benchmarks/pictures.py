"""Pictures and the table of goals from what has been measured; measures nothing.

python benchmarks/pictures.py [--out FOLDER]    reads and writes benchmarks/results, or FOLDER
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import draw
import loss_scaling_rows
import pictures_loss_scaling
import pictures_scaling
import scaling
import scaling_rows
from cases_hamming import FAISS
from goals import Goal, Reached, goal_table
from measured import RESULTS, Measured, load

from fasthash._files import replace_file
from fasthash.report.theme import LIGHT

GOALS, PEERS = "hamming_goals", "hamming_peers"  # names of the files made here
PEERS_DATA = "hamming_peers_cpu"
ROW = 27  # pixels
COLOURS = {"fasthash, AVX-512": draw.SERIES[0], "fasthash, AVX2": draw.SERIES[1], "fasthash, NEON": draw.SERIES[2]}
SHORT = {"fasthash, ": "", ", N 1,000,000": "", ", 1 thread": "", ",000,000": "M"}  # N is 1M and threads 1 unless said

Row = tuple[str, Goal, Reached]


def goals_page(pages: dict[str, list[Row]]) -> str:
    """Markdown: page -> its goals."""
    lines = ["# What is asked of the search engine, and what was reached", ""]
    lines += ["Gathered from the pages named below, which say how each was measured.", ""]
    lines += [f"![goals]({GOALS}.png)", ""]
    for name, rows in pages.items():
        lines += [f"From [{name}.md]({name}.md):", "", *goal_table(rows), ""]
    return "\n".join(lines)


def goals_figure(rows: Sequence[Row]) -> Any:
    """A bar for each goal of speed, from 1 = the peer, with marks at what is asked."""
    rows = sorted(rows, key=lambda row: list(COLOURS).index(row[1].contestant) if row[1].contestant in COLOURS else 9)
    left, right, top, bottom = 290, 100, 52, 50
    height = top + bottom + ROW * len(rows)
    heading = "Times as fast as FAISS IndexBinaryFlat, in the same round. N = 1M, k = 10, 1 thread unless said."
    with draw.figure(height, heading) as figure:
        axes = draw.panel(figure, left, bottom, draw.WIDTH - left - right, ROW * len(rows))
        bounds = [bound for _, goal, _ in rows for bound in (goal.least, goal.aim) if bound]
        every = [*bounds, *(reached.median for *_, reached in rows)]
        axes.set_xscale("log")
        axes.set_xlim(min(1.0, 0.9 * min(every)), 1.1 * max(every))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="x")
        draw.log_axis(axes.xaxis, [x for x in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200) if _within(axes, x)])
        axes.axvline(1, color=draw.MUTED, linewidth=1.2)
        axes.set_yticks([])
        draw.name_axes(axes, "times as fast", "")
        for place, row in enumerate(rows):
            _goal_row(axes, place, *row)
    return figure


def _within(axes: Any, x: float) -> bool:
    low, high = axes.get_xlim()
    return bool(low <= x <= high)


def _goal_row(axes: Any, place: int, case: str, goal: Goal, reached: Reached) -> None:
    name = f"{goal.contestant}: {case}"
    for long, brief in SHORT.items():
        name = name.replace(long, brief)
    style: dict[str, Any] = {"textcoords": "offset points", "va": "center"}
    axes.annotate(name, (0, place), (-8, 0), xycoords=("axes fraction", "data"), ha="right", color=draw.INK, **style)
    colour = COLOURS.get(goal.contestant, draw.SERIES[3])
    axes.barh(place, reached.median - 1, left=1, height=0.5, color=colour)
    axes.plot([reached.low, reached.high], [place, place], color=draw.INK, linewidth=1.2)
    verdict = goal.verdict(reached.median)
    text = goal.say(reached.median) + (", missed" if verdict == "missed" else "")
    colour = LIGHT["bad"] if verdict == "missed" else draw.INK
    axes.annotate(text, (1, place), (8, 0), xycoords=("axes fraction", "data"), ha="left", color=colour, **style)
    for bound, word, side in ((goal.least, "at least", "right"), (goal.aim, "aim", "left")):
        if bound is None:
            continue
        axes.plot([bound, bound], [place - 0.36, place + 0.36], color=draw.INK, linewidth=2.2 if side == "right" else 1)
        if place == 0:  # said once, above the first row
            axes.annotate(word, (bound, -0.5), (-2 if side == "right" else 2, 7), ha=side, color=draw.INK, **style)


def peers_figure(cases: Sequence[Measured]) -> Any:
    """A panel for each number of queries, a row for each peer, a dot for each code length."""
    cases = [case for case in cases if ", k " not in case.name]  # a name says k where it is not the usual one
    found = {tuple(_sizes(case)): case for case in cases}
    queries = sorted({nq for _, nq in found})
    lengths = sorted({bits for bits, _ in found})
    names = list(cases[0].seconds)
    left, top, bottom, gutter = 178, 84, 50, 26
    height = top + bottom + ROW * len(names)
    width = (draw.WIDTH - left - 16 - gutter * (len(queries) - 1)) / len(queries)
    values = [_nanoseconds(case, name) for case in cases for name in names]
    heading = f"Time per pair of a query and a code, {_codes(cases[0])}, k = 10, 1 thread: further left is faster."
    with draw.figure(height, heading) as figure:
        for place, nq in enumerate(queries):
            axes = draw.panel(figure, left + place * (width + gutter), bottom, width, ROW * len(names))
            axes.set_xscale("log")
            axes.set_xlim(min(values) / 1.25, max(values) * 1.25)
            axes.set_ylim(len(names) - 0.5, -0.5)
            axes.set_yticks(range(len(names)), names if place == 0 else [""] * len(names), color=draw.INK)
            axes.grid(axis="both")
            draw.log_axis(axes.xaxis, draw.decades(*axes.get_xlim()))
            draw.name_axes(axes, "nanoseconds per pair", "")
            axes.annotate(
                f"Q {nq}", (0, 1), (0, 30), xycoords="axes fraction", textcoords="offset points", weight="bold"
            )
            columns = [(bits, found[bits, nq]) for bits in lengths if (bits, nq) in found]
            for (_, case), colour in zip(columns, draw.SERIES, strict=False):
                dots = [_nanoseconds(case, name) for name in names]
                axes.plot(dots, range(len(names)), "o", color=colour, markersize=7)
            _name_dots(axes, [(f"{bits}", _nanoseconds(case, names[0])) for bits, case in columns], width)
    return figure


def _name_dots(axes: Any, dots: Sequence[tuple[str, float]], width: float) -> None:
    """The code lengths above the dots of the first row, moved apart where they would touch."""
    fractions = [float(axes.transAxes.inverted().transform(axes.transData.transform((x, 0)))[0]) for _, x in dots]
    placed = draw.spread([width * fraction for fraction in fractions], 30, 10, width - 30)
    for (name, _), at, colour in zip(dots, placed, draw.SERIES, strict=False):
        style: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "center"}
        if at == max(placed):  # begins where the number alone would, and says what the numbers are
            axes.annotate(f"{name} bits", (at / width, 1), (-draw.FONT, 7), ha="left", color=colour, **style)
        else:
            axes.annotate(name, (at / width, 1), (0, 7), ha="center", color=colour, **style)


def _sizes(case: Measured) -> list[int]:
    """Bits and queries, from a name like "64 bits, N 1,000,000, Q 16, 1 thread"."""
    bits, rest = case.name.split(" bits, ")
    return [int(bits), int(rest.split("Q ")[1].split(",")[0])]


def _codes(case: Measured) -> str:
    return f"N = {draw.short(case.work / _sizes(case)[1])}"


def _nanoseconds(case: Measured, name: str) -> float:
    return 1e9 * statistics.median(case.seconds[name]) / case.work


def make(folder: Path) -> list[Path]:
    """Every picture and table that the folder has the measurements for; the paths written."""
    cases = {path.stem: load(path) for path in sorted(folder.glob("*.json"))}
    pages = {name: [row for case in found for row in case.reached()] for name, found in cases.items()}
    pages = {name: rows for name, rows in pages.items() if rows}
    written = []
    if pages:
        written.append(folder / f"{GOALS}.md")
        replace_file(written[0], lambda temporary: temporary.write_text(goals_page(pages)))
    speeds = [row for rows in pages.values() for row in rows if row[1].kind == "speed" and row[1].against == FAISS]
    if speeds:
        written.append(draw.save(goals_figure(speeds), folder / f"{GOALS}.png"))
    if PEERS_DATA in cases:
        figure = peers_figure(cases[PEERS_DATA])
        written.append(draw.save(figure, folder / f"{PEERS}.png"))
    if (folder / scaling.DATA).exists():
        written += pictures_scaling.draw(scaling_rows.load(folder / scaling.DATA), folder)
    if (folder / loss_scaling_rows.DATA).exists():
        written += pictures_loss_scaling.draw(loss_scaling_rows.load(folder / loss_scaling_rows.DATA), folder)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER", help="instead of benchmarks/results")
    for path in make(parser.parse_args().out):
        print(os.path.relpath(path))


if __name__ == "__main__":
    main()
