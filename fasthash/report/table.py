"""The score table: for the terminal, as Markdown, and as plain dicts. The rows and their order are the page's too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fasthash.report import units
from fasthash.report.content import DIRECTIONS, Score

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One row as it is shown: which of its values are the best of its code length, and where a new length starts."""

    score: Score
    best: frozenset[str]  # of "i2t" and "t2i"
    first: bool  # the first row of its code length


def rows(scores: Sequence[Score]) -> list[Row]:
    """The rows in the order of the table: by code length, then as given, random codes last.

    A value is the best when no other of its length reads higher; values that read the same are equally good. A length
    with one row has no best.
    """
    ordered = sorted(scores, key=lambda score: (score.bits, score.baseline))
    found = []
    for place, score in enumerate(ordered):
        peers = [other for other in ordered if other.bits == score.bits]
        best = frozenset(name for name in DIRECTIONS if len(peers) > 1 and _reads_highest(score, peers, name))
        found.append(Row(score, best, place == 0 or ordered[place - 1].bits != score.bits))
    return found


def score_table(scores: Sequence[Score], *, title: str = "Mean average precision") -> Table:
    """The table for a terminal, a `rich.table.Table`: best values bold, random codes dim, lengths apart."""
    try:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        raise RuntimeError("the score table needs the package rich: pip install 'fasthash[cli]'") from None
    timed = any(score.seconds is not None for score in scores)
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=SIMPLE_HEAD)
    table.add_column("method")
    for heading in ("bits", *DIRECTIONS.values(), *(("training",) if timed else ())):
        table.add_column(heading, justify="right")
    listed = rows(scores)
    for place, row in enumerate(listed):
        score = row.score
        name = Text(_one_line(score.method))
        if score.note:
            name.append(f" ({_one_line(score.note)})", style="dim")
        values = [_value(row, direction) for direction in DIRECTIONS]
        cells = [Text(text, style="bold" if best else "") for text, best in values]
        time = [Text(units.seconds(score.seconds) or "–")] if timed else []
        last = place + 1 < len(listed) and listed[place + 1].first
        table.add_row(
            name, Text(str(score.bits)), *cells, *time, style="dim" if score.baseline else "", end_section=last
        )
    return table


def score_markdown(scores: Sequence[Score]) -> str:
    """The table as GitHub Markdown, ending in a line feed; best values in bold."""
    timed = any(score.seconds is not None for score in scores)
    head = ["method", "bits", *DIRECTIONS.values(), *(["training"] if timed else [])]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for row in rows(scores):
        score = row.score
        name = score.method + (f" ({score.note})" if score.note else "")
        values = [f"**{text}**" if best else text for text, best in (_value(row, one) for one in DIRECTIONS)]
        time = [units.seconds(score.seconds) or "–"] if timed else []
        lines.append([_escape(name), str(score.bits), *values, *time])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def score_records(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """The rows as dicts that `json.dumps` takes, in the order of the table; values are not rounded."""
    return [
        {
            "method": row.score.method, "bits": row.score.bits, "i2t": row.score.i2t, "t2i": row.score.t2i,
            "seconds": row.score.seconds, "note": row.score.note, "best": sorted(row.best),
        }
        for row in rows(scores)
    ]  # fmt: skip


def _reads_highest(score: Score, peers: Sequence[Score], name: str) -> bool:
    """Compares what is printed, so that two equal-looking numbers are never one bold and one not."""
    return units.score(getattr(score, name)) == max(units.score(getattr(peer, name)) for peer in peers)


def _value(row: Row, name: str) -> tuple[str, bool]:
    return units.score(getattr(row.score, name)), name in row.best


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _escape(text: str) -> str:
    """Text that Markdown shows as it is: no cell, emphasis, link or tag can start in it."""
    return "".join("\\" + letter if letter in "\\`*_[]<>|#" else letter for letter in _one_line(text))
