"""The best row against the second, query by query: how far ahead it is, and whether other queries could turn it round.

The spread over the seeds says what another training run would change; this says what other queries would.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fasthash import metrics
from fasthash.compare import curves
from fasthash.compare.compared import Compared
from fasthash.compare.plan import Row
from fasthash.compare.summary import Standing
from fasthash.evaluation import DIRECTIONS

MEASURE = "map_all"
SAMPLES = 2_000  # of the test and of the interval: a p-value below 0.001 is told as that


def standings(compared: Compared) -> list[Standing]:
    """A standing for each table, length and direction where at least two rows have codes with kept precisions."""
    found = []
    for data in compared.data:
        for title, rows in compared.plan.tables_of(data):
            for bits in sorted({b for row in rows for b in compared.plan.bits_of(row)}):
                for direction in DIRECTIONS:
                    labels = _ordered(compared, data, rows, bits, direction)
                    if len(labels) > 1:
                        one = _standing(compared, (data, title), bits, direction, labels)
                        found += [one] if one else []
    return found


def _ordered(compared: Compared, data: str, rows: Sequence[Row], bits: int, direction: str) -> list[str]:
    """The rows that have codes, the highest mean first."""
    results = compared.results
    coded = [row for row in rows if bits in compared.plan.bits_of(row) and not results.is_real(data, row.label)]
    measured = [(results.series(data, row.label, bits, MEASURE, direction), row.label) for row in coded]
    ordered = sorted(((series.mean, label) for series, label in measured if series), key=lambda one: -one[0])
    return [label for _, label in ordered]


def _standing(
    compared: Compared, table: tuple[str, str], bits: int, direction: str, labels: Sequence[str]
) -> Standing | None:
    best, second = labels[:2]
    first, other = (_precisions(compared, table[0], row, bits, direction) for row in (best, second))
    if first is None or other is None:
        return None
    shared = [(_at(first, seed), _at(other, seed)) for seed in first | other]
    pairs = [(x, y) for x, y in shared if x is not None and y is not None]
    if not pairs:
        return None
    a, b = (np.mean([pair[side] for pair in pairs], axis=0) for side in (0, 1))
    tested = metrics.paired_test(a, b, samples=SAMPLES)
    interval = metrics.bootstrap(a - b, samples=SAMPLES)
    return Standing(
        *table, bits, direction, best, second, tested.difference, float(interval.low), float(interval.high),
        tested.p_value, tested.queries, len(pairs),
    )  # fmt: skip


Precisions = dict[int | None, NDArray[np.float64]]  # by seed; None: of a row without randomness, for every seed


def _at(one: Precisions, seed: int | None) -> NDArray[np.float64] | None:
    return one.get(None, one.get(seed))


def _precisions(compared: Compared, data: str, row: str, bits: int, direction: str) -> Precisions | None:
    """What is kept of the row's finished cells."""
    found: Precisions = {}
    learned = any(one.label == row and one.learned for one in compared.plan.rows)
    for owner, label, cell in compared.cells:
        if (owner, label, cell.bits) == (data, row, bits) and compared.answers[cell.folder]["state"] == "done":
            values = curves.read_precisions(compared.folder / cell.folder, direction, learned=learned)
            if values is not None:
                found[None if cell.fixed else cell.seed] = values
    return found or None
