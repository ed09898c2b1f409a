"""The committed plan of the comparison: every name and option in it is known, every target can be reached."""

from pathlib import Path

import pytest

from fasthash import methods
from fasthash.compare import Plan
from fasthash.compare.items import method_options
from fasthash.compare.peers import PEERS

PLAN = Path(__file__).parents[2] / "benchmarks" / "compare.json"


@pytest.fixture(scope="module")
def plan():
    return Plan.read(PLAN)


def test_every_option_is_known(plan):
    for row in plan.rows:
        if row.item.name not in PEERS:
            kind = methods.get(row.item.name)
            for data in row.data or plan.data_items():
                methods.resolve_options(kind, data, method_options(row.item))


def test_variants_differ_from_their_method(plan):
    """An ablation whose preset switches off the same thing would be compared with itself."""
    for label in plan.data_items():
        seen = {}
        for row in plan.rows_of(label):
            if row.item.name in PEERS:
                continue
            kind = methods.get(row.item.name)
            options = methods.resolve_options(kind, label, method_options(row.item)).model_dump_json()
            other = seen.setdefault((row.item.name, options, row.learned), row.label)
            assert other == row.label, f"{row.label} and {other} are the same on {label}"


def test_targets_ask_for_lengths_that_are_measured(plan):
    rows = {row.label: row for row in plan.rows}
    for target in plan.targets:
        for name in (target.row, target.over):
            if name:
                assert set(target.bits or plan.bits_of(rows[target.row])) <= set(plan.bits_of(rows[name]))


def test_every_row_stands_in_a_table(plan):
    for label in plan.data_items():
        shown = {row.label for _, rows in plan.tables_of(label) for row in rows}
        assert shown == {row.label for row in plan.rows_of(label)}
