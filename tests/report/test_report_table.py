"""The score table in the terminal, as Markdown and as plain dicts."""

import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fasthash.report import RANDOM, Score, score_markdown, score_records, score_table

SCORES = [
    Score(RANDOM, 64, 0.0912, 0.0907),
    Score("djsrh", 64, 0.4119, 0.4392, seconds=12.2, note="unsupervised"),
    Score("dcmh", 64, 0.71604, 0.7312, seconds=185),
    Score("ssah", 64, 0.71596, 0.7, seconds=200),
    Score("dcmh", 16, 0.6, 0.61, seconds=100),
]
shares = st.floats(0, 1)
score_lists = st.lists(st.builds(Score, st.sampled_from(["a", "b", RANDOM]), st.sampled_from([16, 64]), shares, shares))


def printed(scores, width=100, **how):
    console = Console(file=io.StringIO(), width=width, **how)
    console.print(score_table(scores))
    return console.file.getvalue()


def test_terminal_rows_are_in_order():
    words = [line.split() for line in printed(SCORES).splitlines() if "0." in line]
    assert [row[0] for row in words] == ["dcmh", "djsrh", "dcmh", "ssah", "random"]
    assert [[word for word in row if word.startswith("0.")] for row in words] == [
        ["0.600", "0.610"], ["0.412", "0.439"], ["0.716", "0.731"], ["0.716", "0.700"], ["0.091", "0.091"],
    ]  # fmt: skip


def test_terminal_bold_and_dim():
    lines = printed(SCORES, force_terminal=True, color_system="standard").splitlines()
    by_method = {
        name: next(line for line in lines if name in line and "64" in line) for name in ("ssah", "random", "dcmh")
    }
    bold = {name: re.findall(r"\x1b\[1m *([\d.]+)\x1b", line) for name, line in by_method.items()}
    assert bold == {"dcmh": ["0.716", "0.731"], "ssah": ["0.716"], "random": []}  # 0.716 reads the same twice
    assert re.search(r"\x1b\[2m *random codes", by_method["random"])


def test_terminal_takes_names_as_they_are():
    assert "[bold]x[/bold]" in printed([Score("[bold]x[/bold]", 64, 0.1, 0.1, note="[/]")])


def test_markdown_is_a_table_of_the_values():
    lines = score_markdown(SCORES).splitlines()
    assert lines[0] == "| method | bits | image → text | text → image | training |"
    assert lines[2] == "| dcmh | 16 | 0.600 | 0.610 | 1 min 40 s |"  # alone at its length: nothing to be best of
    assert lines[3] == "| djsrh (unsupervised) | 64 | 0.412 | 0.439 | 12 s |"
    assert lines[4] == "| dcmh | 64 | **0.716** | **0.731** | 3 min 05 s |"
    assert lines[5] == "| ssah | 64 | **0.716** | 0.700 | 3 min 20 s |"
    assert lines[6] == "| random codes | 64 | 0.091 | 0.091 | – |"


def test_markdown_has_no_time_when_none_was_taken():
    assert score_markdown([Score("dcmh", 64, 0.5, 0.5)]).splitlines()[0].count("|") == 5
    assert "training" not in printed([Score("dcmh", 64, 0.5, 0.5)])


@pytest.mark.parametrize("name", ["a|b", "a\nb", "<b>x</b>", "*x*", "[x](http://y)", "`x`"])
def test_markdown_escapes_names(name):
    row = score_markdown([Score(name, 64, 0.5, 0.5)]).splitlines()[2]
    assert row.replace("\\|", "").count("|") == 5
    cell = row[2:].split(" | 64 | ")[0]
    bare = cell
    for letter in "\\`*_[]<>|#":
        bare = bare.replace("\\" + letter, "")
    assert not set("`*[]<>|") & set(bare)


def test_no_scores_is_an_empty_table():
    assert score_records([]) == []
    assert len(score_markdown([]).splitlines()) == 2
    assert "method" in printed([])


@given(score_lists)
def test_records_hold_every_score_unrounded(scores):
    records = json.loads(json.dumps(score_records(scores)))
    key = ("method", "bits", "i2t", "t2i")
    assert sorted(tuple(r[k] for k in key) for r in records) == sorted((s.method, s.bits, s.i2t, s.t2i) for s in scores)
    assert [r["bits"] for r in records] == sorted(r["bits"] for r in records)
    for bits in {r["bits"] for r in records}:
        ours = [r for r in records if r["bits"] == bits]
        last = [r["method"] == RANDOM for r in ours]
        assert last == sorted(last)
        for side in ("i2t", "t2i"):
            top = max(round(1000 * float(f"{r[side]:.3f}")) for r in ours)
            want = [len(ours) > 1 and round(1000 * float(f"{r[side]:.3f}")) == top for r in ours]
            assert [side in r["best"] for r in ours] == want
