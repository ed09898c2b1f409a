"""A comparison as LaTeX tables for a paper: booktabs, the best in bold, one table for each measure of each part."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fasthash.report import units
from fasthash.report.comparison import Comparison, Grid, GridRow, Part, Value
from fasthash.report.content import DIRECTIONS

_SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "→": r"$\to$", "←": r"$\leftarrow$", "−": "$-$", "±": r"$\pm$",
    "×": r"$\times$", "≥": r"$\geq$", "≤": r"$\leq$", "–": "--", "—": "---", "…": r"\ldots{}", "µ": r"$\mu$",
    '"': r"\textquotedbl{}", "[": "{[}", "]": "{]}", "*": "{*}",
} | {letter: "\\" + letter for letter in "&%$#_{}"}  # fmt: skip
_HEAD = r"""% {title}
% {command}
% In the preamble: \usepackage[T1]{fontenc} and \usepackage{booktabs}
"""


def comparison_latex(page: Comparison) -> str:
    """The tables as LaTeX that goes into a document with ``\\input``, ending in a line feed.

    Rows against code lengths, image → text left, text → image right, mean ± standard deviation over the seeds. What is
    no code, and random codes, stand below a rule of their own. Names may hold any character; letters beyond Latin need
    XeLaTeX or LuaLaTeX.
    """
    command = _comment(str(page.provenance.get("command", "")))
    text = [_HEAD.replace("{title}", _comment(page.title)).replace("{command}", command)]
    labels: set[str] = set()
    for data in page.data:
        for part in data.parts:
            for grid in part.grids:
                text.append(_table(data.name, part, grid, page.rule, _label(data.name, part, grid, labels)))
    return "\n".join(text)


def _table(data: str, part: Part, grid: Grid, rule: str, label: str) -> str:
    bits, n = grid.bits, len(grid.bits)
    title = f"{part.title}: {data}" if part.title else data
    spread = any(value.spread is not None for row in grid.rows for value in row.values.values())
    said = ", mean ± standard deviation over the seeds" if spread else ""
    best = any(value.best for row in grid.rows for value in row.values.values())
    caption = _escape(f"{title}, {grid.measure}{said}." + (f" {rule}" if best and rule else ""))
    heads = " & ".join(rf"\multicolumn{{{n}}}{{c}}{{{_escape(name)}}}" for name in DIRECTIONS.values())
    places = zip((2, 2 + n), (1 + n, 1 + 2 * n), strict=True)
    rules = " ".join(rf"\cmidrule(lr){{{first}-{last}}}" for first, last in places)
    rows = [row for row in grid.rows if not row.reference]
    others = [row for row in grid.rows if row.reference]
    lines = [
        r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", rf"\label{{{label}}}",
        r"\setlength{\tabcolsep}{4pt}", rf"\begin{{tabular}}{{l{'r' * (2 * n)}}}", r"\toprule", rf" & {heads} \\",
        rules, " & ".join(["Bits", *(str(b) for b in bits)] + [str(b) for b in bits]) + r" \\", r"\midrule",
        *(_row(row, bits) for row in rows), *([r"\midrule"] if rows and others else []),
        *(_row(row, bits) for row in others), r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _row(row: GridRow, bits: Sequence[int]) -> str:
    cells = [_cell(row.values.get((b, direction))) for direction in DIRECTIONS for b in bits]
    return " & ".join([_escape(row.name), *cells]) + r" \\"


def _cell(value: Value | None) -> str:
    if value is None:
        return "--"
    mean = units.score(value.mean)
    spread = "" if value.spread is None else rf" \pm {units.score(value.spread)}"
    return rf"$\mathbf{{{mean}{spread}}}$" if value.best else f"${mean}{spread}$"


def _escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_SPECIAL.get(letter, letter) for letter in " ".join(text.split()))


def _comment(text: str) -> str:
    return " ".join(text.split())


def _label(data: str, part: Part, grid: Grid, taken: set[str]) -> str:
    """A label of its own for each table, of letters, digits and hyphens."""
    words = " ".join(filter(None, [data, part.title, grid.measure.split(",")[0]]))
    name = "tab:" + re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
    n = 1
    while (label := name if n == 1 else f"{name}-{n}") in taken:
        n += 1
    taken.add(label)
    return label
