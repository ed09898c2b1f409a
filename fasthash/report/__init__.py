"""What a user sees: the score table and one self-contained HTML page."""

from fasthash.report.comparison import Comparison, comparison_markdown
from fasthash.report.comparison_latex import comparison_latex
from fasthash.report.comparison_page import render_comparison, write_comparison, write_pictures
from fasthash.report.content import RANDOM, Credit, Hit, Page, Query, Score
from fasthash.report.findings import Categories, Category, CodeMap, Codes, Distances, Measure
from fasthash.report.page import render_page, write_page
from fasthash.report.series import AtRank, Curve, History
from fasthash.report.table import score_markdown, score_records, score_table

__all__ = [
    "RANDOM", "AtRank", "Categories", "Category", "CodeMap", "Codes", "Comparison", "Credit", "Curve", "Distances",
    "History", "Hit", "Measure", "Page", "Query", "Score", "comparison_latex", "comparison_markdown",
    "render_comparison", "render_page", "score_markdown", "score_records", "score_table", "write_comparison",
    "write_page", "write_pictures",
]  # fmt: skip
