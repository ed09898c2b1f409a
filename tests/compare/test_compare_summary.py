"""Mean, spread, the rule of bold, targets: against numbers worked out by hand."""

import numpy as np
import pytest

from fasthash.compare import Plan, output
from fasthash.compare.summary import Results, Series, best_row, judge


def series(*values, fixed=False):
    return Series(dict(enumerate(values)), fixed)


def test_spread_is_the_sample_standard_deviation():
    values = (0.71, 0.74, 0.72)
    assert series(*values).mean == pytest.approx(np.mean(values))
    assert series(*values).spread == pytest.approx(np.std(values, ddof=1))
    assert series(0.5).spread is None


def test_a_lead_counts_when_it_is_larger_than_the_spread_of_the_differences():
    # both swing by .1 from seed to seed, but together: every difference is .01
    assert series(0.51, 0.61, 0.71).exceeds(series(0.50, 0.60, 0.70))
    # the same means, but in another order of seeds: the differences swing
    assert not series(0.51, 0.61, 0.71).exceeds(series(0.70, 0.50, 0.60))
    assert not series(0.50, 0.60).exceeds(series(0.51, 0.61))
    assert not series(0.50, 0.60).exceeds(series(0.50, 0.60)), "equal is not ahead"


def test_a_difference_of_exactly_the_spread_is_not_enough():
    # differences 0 and 2: mean 1, standard deviation sqrt(2)
    assert not series(1.0, 3.0).exceeds(series(1.0, 1.0))
    # differences 1, 2, 3: mean 2, standard deviation 1
    assert series(2.0, 3.0, 4.0).exceeds(series(1.0, 1.0, 1.0))
    # differences 0, 1, 2: mean 1, standard deviation 1
    assert not series(1.0, 2.0, 3.0).exceeds(series(1.0, 1.0, 1.0))


def test_only_seeds_that_both_have_are_compared():
    whole, part = series(0.5, 0.6, 0.9), Series({0: 0.4, 1: 0.5})
    assert part.differences(whole) == pytest.approx([-0.1, -0.1])
    assert whole.exceeds(part)
    assert not whole.exceeds(Series({0: 0.4})), "one difference has no spread"
    assert not whole.exceeds(Series({7: 0.1}))


def test_a_row_without_randomness_stands_for_every_seed():
    fixed = series(0.55, fixed=True)
    assert series(0.60, 0.61, 0.62).exceeds(fixed)
    assert fixed.exceeds(series(0.50, 0.51, 0.50))
    assert fixed.differences(series(0.5, 0.6)) == pytest.approx([0.05, -0.05])
    assert fixed.exceeds(series(0.54, fixed=True))
    assert not fixed.exceeds(series(0.55, fixed=True))


def test_best_row():
    a, b, c = series(0.80, 0.81), series(0.70, 0.72), series(0.79, 0.80)
    assert best_row([b, a]) == 1
    assert best_row([b, a, c]) == 1
    assert best_row([b, a, series(0.70, 0.90)]) is None, "not ahead of the last one for sure"
    assert best_row([None, a, b]) == 1
    assert best_row([a]) is None
    assert best_row([a, None]) is None
    assert best_row([series(0.8), series(0.7)]) is None, "one seed says nothing"


def result(i2t, t2i):
    return {"scores": {"map_all": {"i2t": i2t, "t2i": t2i}}, "seconds": 1.0, "collapsed": False, "peak_bytes": 1}


@pytest.mark.parametrize(
    ("ran", "seconds"),
    [
        ({}, 8.0),
        ({"cpu_share": 0.5}, 4.0),
        ({"cpu_share": 1.6}, 8.0),  # other threads of its own: nobody took anything
        ({"cpu_share": 0.5, "threads": 2}, 8.0),
        ({"cpu_share": 0.1, "device": "cuda"}, 8.0),
    ],
    ids=str,
)
def test_times_are_less_what_other_programs_took(ran, seconds):
    run = {"seconds": 8.0, "threads": 1, "device": "cpu"} | ran
    assert output._seconds(run) == pytest.approx(seconds)


@pytest.fixture
def results():
    found = Results()
    for seed, value in enumerate((0.80, 0.84, 0.88)):
        found.add("wiki", "dcmh", 16, seed, result(value, 0.5), fixed=False)
    for seed, value in enumerate((0.79, 0.85, 0.86)):
        found.add("wiki", "ssah", 16, seed, result(value, 0.6), fixed=False)
    found.add("wiki", "ridge", None, 0, result(0.9, 0.9), fixed=True)
    return found


def test_real_values_stand_at_every_length(results):
    assert results.series("wiki", "ridge", 16, "map_all", "i2t").values == {0: 0.9}
    assert results.series("wiki", "ridge", 64, "map_all", "i2t").values == {0: 0.9}
    assert results.is_real("wiki", "ridge")
    assert not results.is_real("wiki", "dcmh")
    assert results.series("wiki", "dcmh", 64, "map_all", "i2t") is None
    assert results.series("wiki", "dcmh", 16, "ndcg", "i2t") is None
    assert len(results.runs("wiki", "dcmh")) == 3


def outcomes(results, **target):
    target = {"bits": [16]} | target
    plan = Plan.make(rows=["dcmh", "ssah", "ridge"], data=["wiki"], bits=[16, 32], targets=[{"data": "wiki"} | target])
    return judge(plan, results)


def test_a_target_of_a_value(results):
    i2t, t2i = outcomes(results, row="dcmh", at_least=0.83)
    assert (i2t.met, t2i.met) == (True, False)
    assert i2t.reached == pytest.approx(0.84)
    assert i2t.margin == pytest.approx(0.01)
    assert t2i.margin == pytest.approx(-0.33)
    assert i2t.seeds == "2 of 3 seeds"
    assert t2i.seeds == "0 of 3 seeds"


def test_a_target_against_another_row(results):
    (ahead,) = outcomes(results, row="dcmh", over="ssah", directions=["i2t"])
    assert ahead.reached == pytest.approx(0.02 / 3)
    assert ahead.met
    assert ahead.seeds == "2 of 3 seeds"
    (far,) = outcomes(results, row="dcmh", over="ssah", by=0.01, directions=["i2t"])
    assert not far.met
    assert far.margin == pytest.approx(0.02 / 3 - 0.01)
    (near,) = outcomes(results, row="dcmh", over="ssah", by=-0.11, directions=["t2i"])
    assert near.met
    assert "ssah − 0.110" in near.wanted


def test_a_target_that_was_not_measured(results):
    (open_,) = outcomes(results, row="dcmh", at_least=0.1, bits=[32], directions=["i2t"])
    assert open_.met is None
    assert open_.reached is None


def test_a_tie_is_not_better(results):
    for seed in range(3):
        results.add("wiki", "ssah", 32, seed, result(0.5, 0.6), fixed=False)
        results.add("wiki", "dcmh", 32, seed, result(0.5, 0.6 + 0.01 * (seed == 2)), fixed=False)
    i2t, t2i = outcomes(results, row="dcmh", over="ssah", bits=[32])
    assert (i2t.margin, i2t.met, i2t.seeds) == (0.0, False, "0 of 3 seeds")
    assert (t2i.met, t2i.seeds) == (True, "1 of 3 seeds")
    assert i2t.wanted == "more than ssah"
    assert output._goal(i2t).margin == "missed by a tie"
    for seed in range(3):  # values whose difference is exact
        results.add("wiki", "ssah", 32, seed, result(0.25, 0.75), fixed=False)
        results.add("wiki", "dcmh", 32, seed, result(0.5, 0.5), fixed=False)
    above, below = (
        outcomes(results, row="dcmh", over="ssah", by=by, bits=[32], directions=[direction])[0]
        for by, direction in ((0.25, "i2t"), (-0.25, "t2i"))
    )
    assert (above.margin, above.met, above.seeds) == (0.0, True, "3 of 3 seeds")
    assert (below.margin, below.met, below.seeds) == (0.0, True, "3 of 3 seeds")
    (value,) = outcomes(results, row="dcmh", at_least=0.5, bits=[32], directions=["i2t"])
    assert value.met, "a value that is reached is reached"


def test_a_target_is_not_met_while_a_seed_is_missing():
    found = Results()
    for seed, value in ((0, 0.9), (2, 0.8)):
        found.add("wiki", "dcmh", 16, seed, result(value, 0.1), fixed=False)
    for seed in (0, 1):
        found.add("wiki", "ssah", 16, seed, result(0.5, 0.5), fixed=False)
    found.add("wiki", "ridge", None, 0, result(0.2, 0.2), fixed=True)
    high, low = outcomes(found, row="dcmh", at_least=0.7)
    assert (high.met, high.seeds) == (None, "2 of 3 seeds, 1 failed")
    assert high.margin == pytest.approx(0.15)
    assert (low.met, low.seeds) == (None, "0 of 3 seeds, 1 failed")
    assert output._goal(high).margin == "not judged, 1 seed failed"
    assert high.to_dict()["met"] is None
    (paired,) = outcomes(found, row="dcmh", over="ssah", directions=["i2t"])
    assert (paired.met, paired.seeds) == (None, "1 of 3 seeds, 2 failed"), "seed 0 alone is in both"
    (over_fixed,) = outcomes(found, row="dcmh", over="ridge", directions=["i2t"])
    assert (over_fixed.met, over_fixed.seeds) == (None, "2 of 3 seeds, 1 failed")
    (fixed,) = outcomes(found, row="ridge", at_least=0.1, directions=["i2t"])
    assert (fixed.met, fixed.seeds) == (True, "1 of 1 seed"), "a row without randomness has one"


def test_how_the_runs_were_measured():
    one, two, old = {"threads": 1, "device": "cpu"}, {"threads": 2, "device": "cuda (some card)"}, {}
    assert output.measured([one, one]) == "with 1 thread on cpu"
    assert output.measured([two]) == "with 2 threads on cuda (some card)"
    assert output.measured([old, two, one, one]) == (
        "2 runs with 1 thread on cpu; 1 run with 2 threads on cuda (some card); 1 run threads and device not recorded"
    )
    assert output.measured([old]) == "threads and device not recorded"
    assert output.measured([]) == ""
