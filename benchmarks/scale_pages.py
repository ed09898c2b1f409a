"""The plan of a size as text, and the page of what was measured, with the error of the lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scale_model import (
    MEANING,
    OPEN,
    STEPS,
    Model,
    Row,
    count_bytes,
    nodes_for,
)

BILLION = 1_000_000_000


@dataclass(frozen=True)
class Wanted:
    """What a plan is for."""

    codes: int
    bits: int
    rate: float  # queries a second
    batch: int  # queries searched together
    memory: int  # bytes of a machine that codes may take
    hour: float | None = None  # price of a machine
    month: float | None = None  # price of a GB on the disk for a month


def plan(model: Model, wanted: Wanted, described: Sequence[str]) -> list[str]:
    """Lines of text. ValueError: batches of this size cannot come at this rate on machines of any number."""
    n, taken = wanted.codes, count_bytes(wanted.codes, wanted.bits)
    tables = "too many codes for one" if taken.tables is None else _gb(taken.tables)
    lines = [f"{n:,} codes of {wanted.bits} bits, on machines like the one measured:", *described, "", "bytes"]
    lines += [
        f"  codes {_gb(taken.codes)} in {taken.shards} shards; ids {_gb(taken.ids)} unless they are in a row",
        f"  tables of a MultiIndex {tables}",
        "",
        "seconds on one machine",
    ]
    lines += [f"  {MEANING[step]}: {_time(model.seconds(step, n))}" for step in STEPS]
    held = _machines(model, wanted, in_memory=True)
    streamed = _machines(model, wanted, in_memory=False)
    lines += ["", f"{wanted.rate:g} queries a second, searched {wanted.batch:,} at a time"]
    lines += [f"  codes in memory ({_gb(wanted.memory)} a machine): {held}", f"  codes on the disk: {streamed}"]
    seconds = model.batch_seconds(n, wanted.batch), model.streamed_seconds(n, wanted.batch)
    hours = [1e6 / wanted.batch * s / 3600 for s in seconds]
    lines += ["", "a million queries", f"  machine-hours: {hours[0]:.3g} in memory, {hours[1]:.3g} from the disk"]
    if wanted.hour is not None:
        lines.append(f"  price: {hours[0] * wanted.hour:.3g} in memory, {hours[1] * wanted.hour:.3g} from the disk")
    if wanted.month is not None:
        lines.append(f"  the disk, a month: {taken.codes / 1e9 * wanted.month:.3g}")
    worst = max((abs(error) for _, _, error in model.checked()), default=math.nan)
    largest = max(row.codes for row in model.rows)
    return [*lines, "", f"largest error of these lines where they were checked, up to {largest:,} codes: {worst:.0%}"]


def _machines(model: Model, wanted: Wanted, *, in_memory: bool) -> str:
    """How many, and what decides it."""
    n, seconds = wanted.codes, model.batch_seconds if in_memory else model.streamed_seconds
    fixed = seconds(0, wanted.batch)
    number = nodes_for(wanted.rate, wanted.batch, fixed, seconds(n, wanted.batch) - fixed)
    least = math.ceil(count_bytes(n, wanted.bits).codes / wanted.memory) if in_memory else 1
    why = "the rate decides" if number >= least else "the memory decides"
    number = max(number, least)
    each = math.ceil(count_bytes(n, wanted.bits).shards / number)
    took = _time(seconds(n / number, wanted.batch))
    return f"{number:,} machine{'s' * (number > 1)} of {each} shard{'s' * (each > 1)} ({why}); a batch takes {took}"


def page(described: Sequence[str], rows: Sequence[Row]) -> str:
    models = [Model(rows, bits) for bits in sorted({row.bits for row in rows})]
    lines = ["# Larger than memory: measured, and a billion codes on paper", ""]
    lines += [
        "Uniform random codes in shards, ids in a row, k = 10, labels of 16 classes, all cores. Every step but writing",
        "runs in a process that may take 512 MiB of memory of its own; steps that begin with nothing in memory come",
        "after the system has dropped the files from its cache. The fastest of some rounds, as other load only ever",
        "adds: 9 up to 10 million codes, 4 up to 100 million, then 2; of writing 3, then 1; of evaluating 3, then 2.",
        "What the steps mean and how the plan is made: docs/scale.md.", "",
        *described, "", "## Measured, and predicted from the two smaller sizes", "",
        "| bits | codes | step | measured | predicted | error |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for model in models:
        for row in model.rows:
            if row.step not in STEPS:
                continue
            said = model.seconds(row.step, row.codes)
            shown = "fitted | |" if row.codes in model.fitted else f"{_time(said)} | {said / row.seconds - 1:+.0%} |"
            lines.append(f"| {row.bits} | {row.codes:,} | {row.step} | {_time(row.seconds)} | {shown}")
    lines += ["", "## The lines", "", "Seconds are `fixed + codes * each`; of opening, `fixed + shards * each`.", ""]
    lines += ["| bits | step | fixed | each |", "|---|---|---|---|"]
    for model in models:
        for step, line in model.lines.items():
            each = f"{1e6 * line.per_code:.3g} µs a shard" if step == OPEN else f"{1e9 * line.per_code:.3g} ns a code"
            lines.append(f"| {model.bits} | {step}: {MEANING[step]} | {_time(line.fixed)} | {each} |")
    lines += ["", "## A billion codes", ""]
    for model in models:
        lines += ["```text", *plan(model, Wanted(BILLION, model.bits, 100.0, 1024, 64_000_000_000), ()), "```", ""]
    return "\n".join(lines)


def _gb(size: int) -> str:
    return f"{size / 1e9:,.3g} GB" if size >= 1e8 else f"{size / 1e6:,.3g} MB"


def _time(seconds: float) -> str:
    if seconds >= 120:
        return f"{seconds / 60:,.3g} min"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"
