"""The tables of a comparison for other programs: CSV in the long form, LaTeX that compiles."""

import csv
import io
import json
import re

import numpy as np
import pytest

from fasthash import report
from fasthash.compare import run_compare
from fasthash.compare._files import csv_text
from fasthash.report.comparison import Comparison, DataPart, Grid, GridRow, Part, Value

HOSTILE = r'50% of A&B_c #1 {x} ~^\ $5 <a|b> "q" [1] → − ±'


def test_csv_has_every_mean_once(make_plan, in_process, tmp_path):
    run_compare(make_plan(seeds=3, bits=[8, 16]), tmp_path, progress=False)
    lines = list(csv.DictReader(io.StringIO((tmp_path / "compare.csv").read_text("utf-8"))))
    assert list(lines[0]) == ["data", "row", "bits", "direction", "measure", "mean", "std", "seeds"]
    keys = [tuple(line[key] for key in ("data", "row", "bits", "direction", "measure")) for line in lines]
    assert len(set(keys)) == len(keys) == 2 * 2 * 2 * 4, "rows, lengths, directions, measures"
    cells = json.loads((tmp_path / "compare.json").read_text("utf-8"))["cells"]
    for line in lines:
        found = [
            cell["result"]["scores"][line["measure"]][line["direction"]]
            for cell in cells
            if (cell["row"], str(cell["bits"])) == (line["row"], line["bits"])
        ]
        assert float(line["mean"]) == pytest.approx(np.mean(found))
        assert float(line["std"]) == pytest.approx(np.std(found, ddof=1))
        assert line["seeds"] == "3"


def test_csv_keeps_what_has_commas_and_leaves_gaps_empty():
    text = csv_text(("name", "std"), [{"name": 'a,"b"\n', "std": None, "more": 1}])
    assert list(csv.reader(io.StringIO(text))) == [["name", "std"], ['a,"b"\n', ""]]


@pytest.fixture
def page():
    both = ("i2t", "t2i")
    values = {(b, d): Value(0.7 + b / 1000, 0.004, b == 16) for b in (16, 64) for d in both}
    rows = [GridRow(HOSTILE, values), GridRow("short", {(16, "i2t"): Value(0.5)})]
    rows.append(GridRow("random codes", {(b, d): Value(0.1) for b in (16, 64) for d in both}, reference=True))
    grids = [Grid("mAP over the whole database", (16, 64), rows), Grid("mAP of the first 50", (16,), rows[:1])]
    parts = [Part("All & more", grids), Part("All & more", grids[:1])]
    return Comparison("T_i\ntle", data=[DataPart("wiki_2", "", parts)], rule="Bold: rule.")


def unescaped(text):
    """What LaTeX prints of a cell made of text: the inverse of the escapes that are used."""
    for command, letter in {
        r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<",
        r"\textgreater{}": ">", r"\textbar{}": "|", r"\textquotedbl{}": '"', r"$\to$": "→", "$-$": "−", r"$\pm$": "±",
        "{[}": "[", "{]}": "]",
    }.items():  # fmt: skip
        text = text.replace(command, letter)
    return re.sub(r"\\([&%$#_{}])", r"\1", text)


def cells_of(line):
    assert line.endswith(r" \\")
    return [part.strip() for part in re.split(r"(?<!\\)&", line.removesuffix(r"\\"))]


def test_latex_is_whole(page):
    text = report.comparison_latex(page)
    assert text == report.comparison_latex(page)
    code = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    tables = re.findall(r"\\begin\{table\}(.*?)\\end\{table\}", code, re.DOTALL)
    assert len(tables) == 3
    assert re.sub(r"\\begin\{table\}.*?\\end\{table\}", "", code, flags=re.DOTALL).strip() == ""
    labels = re.findall(r"\\label\{([^}]*)\}", code)
    assert len(set(labels)) == 3, "each table has a label of its own"
    assert all(re.fullmatch("tab:[a-z0-9-]+", label) for label in labels)
    for table in tables:
        bare = re.sub(r"\\[{}\\]", "", table)
        assert bare.count("{") == bare.count("}")
        assert len(re.findall(r"(?<!\\)\$", table)) % 2 == 0
        assert not re.search(r"(?<!\\)%", table), "a comment would swallow the end of its line"
        (columns,) = re.findall(r"\\begin\{tabular\}\{(l(r+))\}", table)
        body = re.search(r"\\begin\{tabular\}\{l?r*\}\n(.*)\\end\{tabular\}", table, re.DOTALL)[1].splitlines()
        assert [body[0], body[-1]] == [r"\toprule", r"\bottomrule"]
        rules = [line for line in body if not line.endswith(r"\\")]
        kinds = {re.match(r"\\[a-z]+", line)[0] for line in rules}
        assert kinds == {r"\toprule", r"\midrule", r"\bottomrule", r"\cmidrule"}
        widths = [
            sum(int(span[1]) if (span := re.match(r"\\multicolumn\{(\d+)\}", cell)) else 1 for cell in cells_of(line))
            for line in body
            if line not in rules
        ]
        assert set(widths) == {len(columns[0])}
        assert not any(line.lstrip().startswith(("[", "*")) for line in body), "it would belong to the line end before"


def test_latex_says_what_is_there(page):
    lines = report.comparison_latex(page).splitlines()
    first = next(line for line in lines if unescaped(cells_of(line)[0] if line.endswith(r"\\") else "") == HOSTILE)
    bold = r"$\mathbf{0.716 \pm 0.004}$"
    assert cells_of(first)[1:] == [bold, r"$0.764 \pm 0.004$"] * 2
    short = next(line for line in lines if line.startswith("short"))
    assert cells_of(short)[1:] == ["$0.500$", "--", "--", "--"]
    place = lines.index(next(line for line in lines if line.startswith("random codes")))
    assert lines[place - 1] == r"\midrule", "what is no learned code stands apart"
    caption = next(line for line in lines if line.startswith(r"\caption"))
    assert r"All \& more: wiki\_2, mAP over the whole database, mean $\pm$ standard deviation" in caption
    assert "Bold: rule." in caption
    assert lines[0] == "% T_i tle", "no line of a title leaves the comment"


def test_latex_of_nothing():
    assert "table" not in report.comparison_latex(Comparison("Empty"))
