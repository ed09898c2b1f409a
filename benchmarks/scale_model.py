"""What a database of any size takes: bytes by counting, seconds by straight lines through two measured sizes.

Seconds of a step are taken as ``fixed + n * per_code``: the codes pass through the processor once, whatever is done.
The lines go through the two smaller sizes measured (``FITTED``); larger ones tell their error. Opening reads the
headers alone: its line is over the number of shards, through a folder of one and one of ``MANY``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fasthash._multi_index import COPY_BITS, MAX_ROWS, layout, offsets_size
from fasthash.codes import packed_width
from fasthash.search.shard_writer import rows_of_a_shard

BATCHES = (1, 16, 1024)
EVALUATED = 100  # queries of an evaluation
FITTED = (1_000_000, 10_000_000)
WRITE, OPEN, COLD, EVALUATE = "write", "open", "cold query", "evaluate"
MANY = 32
OPEN_MANY = f"open {MANY} shards"  # tiny ones
STEPS = (WRITE, OPEN, COLD, *(f"batch {batch}" for batch in BATCHES), EVALUATE)
MEANING = {
    WRITE: "write the shards from codes in memory",
    OPEN: "open the folder, nothing of it in memory",
    COLD: "first query, nothing in memory: every code comes from the disk",
    **{f"batch {batch}": f"search of {batch:,} queries, k = 10, codes in memory" for batch in BATCHES},
    EVALUATE: f"evaluate {EVALUATED} queries against all codes and labels, from the disk",
}


@dataclass(frozen=True)
class Row:
    """One step at one size, measured."""

    bits: int
    codes: int
    step: str
    seconds: float


@dataclass(frozen=True)
class Line:
    """Seconds of a step over the number of codes, or of shards."""

    fixed: float
    per_code: float

    def seconds(self, codes: float) -> float:
        return self.fixed + codes * self.per_code


def fit(small: tuple[int, float], large: tuple[int, float]) -> Line:
    """Through (codes, seconds) twice; through the larger one and zero where the fixed part would be negative."""
    slope = (large[1] - small[1]) / (large[0] - small[0])
    fixed = small[1] - slope * small[0]
    if fixed < 0 or slope <= 0:
        return Line(0.0, large[1] / large[0])
    return Line(fixed, slope)


class Model:
    """Lines of all steps for one code length, of the machine that was measured."""

    def __init__(self, rows: Sequence[Row], bits: int) -> None:
        self.bits, self.rows = bits, [row for row in rows if row.bits == bits]
        sizes = sorted({row.codes for row in self.rows if row.step == WRITE})
        if len(sizes) < 2:
            known = ", ".join(str(length) for length in sorted({row.bits for row in rows})) or "none"
            raise ValueError(f"scale: bits must be a length measured at two sizes, got {bits} (measured: {known})")
        self.fitted = tuple(sizes[:2])
        self.lines = {step: fit(*((n, self.measured(step, n)) for n in self.fitted)) for step in STEPS if step != OPEN}
        many = next(row.seconds for row in self.rows if row.step == OPEN_MANY)
        self.lines[OPEN] = fit((1, self.measured(OPEN, self.fitted[0])), (MANY, many))

    def measured(self, step: str, codes: int) -> float:
        """Seconds that it took."""
        return next(row.seconds for row in self.rows if (row.step, row.codes) == (step, codes))

    def seconds(self, step: str, codes: float) -> float:
        """What the step's line says."""
        return self.lines[step].seconds(self._shards(codes) if step == OPEN else codes)

    def _shards(self, codes: float) -> int:
        return max(1, math.ceil(codes / rows_of_a_shard(self.bits)))

    def checked(self) -> list[tuple[Row, float, float]]:
        """Rows that the lines do not go through: what was measured, predicted, and predicted / measured - 1."""
        others = [row for row in self.rows if row.codes not in self.fitted and row.step in STEPS]
        return [(row, said, said / row.seconds - 1) for row in others for said in [self.seconds(row.step, row.codes)]]

    def batch_seconds(self, codes: float, batch: int) -> float:
        """A batch of any size, codes in memory: between the sizes measured by a straight line of its logarithm."""
        found = [self.seconds(f"batch {size}", codes) for size in BATCHES]
        for (low, below), (high, above) in zip(
            zip(BATCHES, found, strict=True), zip(BATCHES[1:], found[1:], strict=True), strict=False
        ):
            if batch <= high:
                share = math.log(batch / low) / math.log(high / low)
                return float(below ** (1 - share) * above**share)
        return found[-1] * batch / BATCHES[-1]

    def streamed_seconds(self, codes: float, batch: int) -> float:
        """The same with every code coming from the disk: the disk's time is added, as it was to the first query."""
        return self.batch_seconds(codes, batch) + max(0.0, self.seconds(COLD, codes) - self.seconds("batch 1", codes))


@dataclass(frozen=True)
class Bytes:
    """Of a database."""

    codes: int
    ids: int  # while they are not in a row
    shards: int  # number of files
    tables: int | None  # of a MultiIndex in memory, beside codes; None: it takes no more than 4,294,967,295 codes


def count_bytes(codes: int, bits: int) -> Bytes:
    width = packed_width(bits)
    tables = None
    if codes <= MAX_ROWS:
        copies = bits <= COPY_BITS
        _, widths = layout(bits, codes, None, copies)
        each = 4 + (8 * math.ceil(bits / 64) if copies else 0)
        tables = len(widths) * codes * each + 4 * offsets_size(widths)
    return Bytes(codes * width, 8 * codes, math.ceil(codes / rows_of_a_shard(bits)), tables)


def nodes_for(rate: float, batch: int, fixed: float, work: float) -> int:
    """Machines that share the codes so that batches come at a rate: batch / (fixed + work / nodes) >= rate."""
    room = batch / rate - fixed
    if room <= 0:
        raise ValueError(f"scale: batches of {batch} cannot come at {rate:g} queries a second; take larger ones")
    return max(1, math.ceil(work / room))


def as_json(machine: Sequence[str], rows: Sequence[Row]) -> str:
    """What ``load`` reads."""
    lines = [json.dumps({**vars(row), "seconds": float(f"{row.seconds:.4g}")}) for row in rows]
    return f'{{"machine": {json.dumps(list(machine))},\n"rows": [\n' + ",\n".join(lines) + "\n]}\n"


def load(path: Path) -> tuple[list[str], list[Row]]:
    """The lines on the machine, and the rows."""
    content = json.loads(path.read_text())
    return content["machine"], [Row(**row) for row in content["rows"]]
