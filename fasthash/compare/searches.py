"""Searches of a comparison, from the codes that its cells keep."""

from __future__ import annotations

from collections.abc import Sequence

from fasthash.compare import curves
from fasthash.compare.cells import Cell, load_data
from fasthash.compare.compared import Compared
from fasthash.compare.plan import Row
from fasthash.evaluation import Codes
from fasthash.report.comparison import Searches
from fasthash.report.comparison_searches import PICTURE_BYTES, comparison_searches


def searches(compared: Compared) -> dict[str, Searches]:
    """By data label: the same queries put to the rows of its first table, at the longest length that has codes.

    Needs ``compared.curves``, which say whose codes are kept; data sets without any are left out.
    """
    found = {}
    items = compared.plan.data_items()
    for label in compared.data:
        rows = next((rows for _, rows in compared.plan.tables_of(label)), [])
        codes = _codes(compared, label, rows)
        if codes:
            references = [row.label for row in rows if row.item.name == "random"]
            found[label] = comparison_searches(
                codes,
                load_data(items[label]),
                references=references,
                seed=compared.plan.seeds[0],
                room=PICTURE_BYTES // len(compared.data),
            )
    return found


def _codes(compared: Compared, data: str, rows: Sequence[Row]) -> dict[str, Codes]:
    """Codes of the rows that have some of the longest length, in the order of the table, of the first seed scored."""
    kept: dict[tuple[str, int], Cell] = {}
    for owner, row, cell in compared.cells:
        seed, _ = compared.curves.get((owner, row, cell.bits or 0), (None, None))
        if owner == data and cell.bits is not None and cell.seed == seed:
            kept[row, cell.bits] = cell
    labels = [row.label for row in rows]
    longest = max((bits for row, bits in kept if row in labels), default=0)
    chosen = {label: kept[label, longest] for label in labels if (label, longest) in kept}
    return {label: curves.read_codes(compared.folder / cell.folder, longest) for label, cell in chosen.items()}
