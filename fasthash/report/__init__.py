"""What a user sees: the score table and one self-contained HTML page."""

from fasthash.report.content import RANDOM, Credit, Curve, History, Hit, Page, Query, Score
from fasthash.report.page import render_page, write_page
from fasthash.report.table import score_markdown, score_records, score_table

__all__ = [
    "RANDOM", "Credit", "Curve", "History", "Hit", "Page", "Query", "Score", "render_page", "score_markdown",
    "score_records", "score_table", "write_page",
]  # fmt: skip
