"""Values that papers printed, each with source and protocol: `names`, `load`, and ours `beside` theirs."""

from fasthash.published._beside import Beside, Line, Ours, Setting, Side, alone, beside, line_text
from fasthash.published._tables import PublishedTable, evidence, load, names

__all__ = [
    "Beside", "Line", "Ours", "PublishedTable", "Setting", "Side", "alone", "beside", "evidence", "line_text",
    "load", "names",
]  # fmt: skip
