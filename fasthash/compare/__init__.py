"""Methods side by side: trained on the same data, at the same lengths, over several seeds; one table, one page."""

from fasthash.compare.compared import Compared
from fasthash.compare.plan import MEASURES, Plan, Row, Table, Target
from fasthash.compare.ranges import Axis, parse_axis
from fasthash.compare.run import run_compare, run_plan
from fasthash.compare.sweep import run_sweep
from fasthash.compare.swept import Setting, Swept

__all__ = [
    "MEASURES", "Axis", "Compared", "Plan", "Row", "Setting", "Swept", "Table", "Target", "parse_axis", "run_compare",
    "run_plan", "run_sweep",
]  # fmt: skip
