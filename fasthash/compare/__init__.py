"""Methods side by side: trained on the same data, at the same lengths, over several seeds; one table, one page."""

from fasthash.compare.plan import MEASURES, Plan, Row, Table, Target
from fasthash.compare.run import Compared, run_compare

__all__ = ["MEASURES", "Compared", "Plan", "Row", "Table", "Target", "run_compare"]
