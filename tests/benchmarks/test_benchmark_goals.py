"""Goals, timings and samples of the benchmarks: figures by closed form."""

import pytest
from goals import Goal, goal_table
from interleave import interleave, timing
from measured import Measured, load, save

SECONDS = {"ours": [1.0, 2.0, 4.0], "theirs": [8.0, 8.0, 8.0]}


@pytest.mark.parametrize(
    ("kind", "figures"),
    [
        ("speed", (4, 3, 6)),
        ("share", (4, 3, 6)),
        ("time", (0.25, 0.1875, 0.375)),
        ("beyond", (-6, -6.5, -5)),
        ("seconds", (2, 1.5, 3)),
        ("of", (0.25, 0.1875, 0.375)),
    ],
)
def test_figures_are_taken_within_rounds(kind, figures):
    assert Goal("ours", "theirs", 1, 2, kind).reached(SECONDS) == pytest.approx(figures)


@pytest.mark.parametrize(
    ("kind", "least", "aim", "values"),
    [
        ("speed", 2, 4, {1.9: "missed", 2: "reached", 3.9: "reached", 4: "aim reached"}),
        ("time", 1.15, 1.05, {1.2: "missed", 1.15: "reached", 1.06: "reached", 1.05: "aim reached"}),
        ("seconds", 2, 1, {2.1: "missed", 2: "reached", 1.1: "reached", 1: "aim reached"}),
        ("beyond", 0.04, 0.02, {0.05: "missed", 0.03: "reached", 0.01: "aim reached"}),
        ("share", None, 0.85, {0.8: "aim missed", 0.9: "aim reached"}),
        ("speed", None, None, {1: ""}),
    ],
)
def test_verdicts(kind, least, aim, values):
    goal = Goal("ours", "theirs", least, aim, kind)
    assert {value: goal.verdict(value) for value in values} == values


def test_unknown_kind_is_refused():
    with pytest.raises(
        ValueError, match="Goal: kind must be one of speed, share, time, of, seconds, beyond, got 'faster'"
    ):
        Goal("ours", "theirs", 1, 2, "faster")


def test_table_says_what_was_asked_and_what_was_missed():
    goal = Goal("ours", "theirs", 5, 8)
    row = goal_table([("64 bits", goal, goal.reached(SECONDS))])[2]
    assert row == "| 64 bits | ours | theirs | x5 / x8 | x4 (x3 to x6) | **missed** |"
    share = Goal("ours", "theirs", None, 0.85, "share")
    row = goal_table([("", share, share.reached(SECONDS))])[2]
    assert row.endswith("| – / 85 % | 400 % (300 % to 600 %) | aim reached |")


def test_ratio_is_of_rounds_not_of_medians():
    found = timing([8.0, 8.0, 80.0], [4.0, 8.0, 20.0])  # twice, once, four times as fast
    assert (found.ratio, found.median, found.spread) == (2.0, 8.0, (1.5, 3.0))


def test_interleave_takes_turns_and_refuses_what_it_cannot_compare():
    calls = []
    found = interleave({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, baseline="a", rounds=3)
    assert {len(entry.samples) for entry in found.values()} == {3}
    assert set(calls) == {"a", "b"}
    with pytest.raises(ValueError, match="baseline must be one of a, got 'c'"):
        interleave({"a": list}, baseline="c")
    with pytest.raises(ValueError, match="rounds must be at least 3, got 2"):
        interleave({"a": list}, baseline="a", rounds=2)


def test_samples_survive_the_file(tmp_path):
    goals = (Goal("ours", "theirs", 2, 4), Goal("elsewhere", "theirs", 1, 2))
    case = Measured("64 bits, λ", "theirs", 10.0, SECONDS, {"ours": 1 << 20}, goals)
    save(tmp_path / "x.json", ["- machine: one"], [case])
    assert load(tmp_path / "x.json") == [case]
    assert [goal.contestant for _, goal, _ in case.reached()] == ["ours"]  # the other one was not measured
