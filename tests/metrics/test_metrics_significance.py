"""Intervals and paired tests against closed forms, all resamples and scipy."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from fasthash import metrics


def test_interval_of_a_mean_is_the_normal_one_for_many_queries():
    values = np.random.default_rng(0).random(2000)
    got = metrics.bootstrap(values, samples=20_000)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert got.value == pytest.approx(values.mean())
    assert (got.low, got.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02 * half + 2e-4)
    assert (got.level, got.samples, got.queries) == (0.95, 20_000, 2000)


def test_interval_equals_scipy_percentile_bootstrap():
    values = np.random.default_rng(1).beta(0.4, 1.0, 60)
    got = metrics.bootstrap(values, level=0.9, samples=40_000, seed=3)
    want = stats.bootstrap(
        (values,), np.mean, n_resamples=40_000, confidence_level=0.9, method="percentile", random_state=0
    ).confidence_interval
    assert (got.low, got.high) == pytest.approx(tuple(want), abs=2e-3)


def test_interval_tends_to_the_quantiles_over_every_resample():
    values = np.array([0.0, 0.2, 0.9, 1.0])
    every = np.array([np.mean(drawn) for drawn in product(values, repeat=4)])
    got = metrics.bootstrap(values, level=0.8, samples=100_000)
    assert (got.low, got.high) == pytest.approx(tuple(np.quantile(every, [0.1, 0.9])), abs=1e-9)  # both on an atom


def test_several_values_a_query_are_several_intervals():
    values = np.random.default_rng(2).random((50, 3))
    together = metrics.bootstrap(values, samples=500, seed=5)
    for column in range(3):
        alone = metrics.bootstrap(values[:, column], samples=500, seed=5)
        assert together.low[column] == pytest.approx(alone.low, abs=1e-14)
        assert together.high[column] == pytest.approx(alone.high, abs=1e-14)
        assert together.value[column] == pytest.approx(alone.value)


def test_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(3)
    inside = 0
    for seed in range(300):
        got = metrics.bootstrap(rng.random(80), level=0.9, samples=400, seed=seed)
        inside += got.low <= 0.5 <= got.high
    assert 0.84 <= inside / 300 <= 0.95


@pytest.mark.parametrize("n", [2, 7, 12])
def test_randomisation_is_exact_for_few_queries(n):
    rng = np.random.default_rng(n)
    a, b = rng.random(n), rng.random(n)
    got = metrics.paired_test(a, b)
    want = stats.permutation_test(
        (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert got.exact
    assert got.samples == 2**n
    assert got.p_value == pytest.approx(want.pvalue, abs=1e-12)
    assert got.difference == pytest.approx(np.mean(a - b))


def test_queries_that_agree_do_not_matter():
    a, b = np.array([0.5, 0.7, 0.1, 0.9]), np.array([0.4, 0.5, 0.1, 0.6])
    alike = np.linspace(0, 1, 500)
    got = metrics.paired_test(np.concatenate([a, alike]), np.concatenate([b, alike]))
    assert got.exact
    assert got.p_value == metrics.paired_test(a, b).p_value == 2 / 8  # all three differences have one sign


def test_sampled_randomisation_equals_the_sign_test_of_equal_differences():
    """40 differences of one size: the number of positive signs is binomial."""
    signs = np.array([1] * 27 + [-1] * 13)
    got = metrics.paired_test(0.5 + 0.1 * signs, np.full(40, 0.5), samples=200_000)
    assert not got.exact
    assert got.p_value == pytest.approx(stats.binomtest(27, 40).pvalue, abs=3e-3)


@pytest.mark.parametrize("method", ["randomisation", "bootstrap"])
def test_large_samples_tend_to_the_paired_t_test(method):
    rng = np.random.default_rng(4)
    a = rng.random(400)
    b = a - 0.01 + 0.1 * rng.standard_normal(400)
    got = metrics.paired_test(a, b, method=method, samples=50_000, seed=1)
    assert got.p_value == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.01)
    assert got.p_value == metrics.paired_test(b, a, method=method, samples=50_000, seed=1).p_value


@pytest.mark.parametrize("method", ["randomisation", "bootstrap"])
def test_p_values_are_uniform_when_neither_is_better(method):
    rng = np.random.default_rng(6)
    found = [
        metrics.paired_test(rng.random(60), rng.random(60), method=method, samples=300, seed=seed).p_value
        for seed in range(250)
    ]
    assert stats.kstest(found, "uniform").pvalue > 1e-3


def test_a_run_against_itself():
    a = np.random.default_rng(0).random(100)
    for method in ("randomisation", "bootstrap"):
        got = metrics.paired_test(a, a, method=method)
        assert (got.difference, got.p_value) == (0.0, 1.0)


def test_differences_that_cancel_are_no_difference():
    gap = np.array([0.1] * 7 + [0.3] + [-0.1] * 10)  # their sum is 0 but for rounding
    assert abs(gap.sum()) < 1e-15
    assert metrics.paired_test(gap, np.zeros(len(gap))).p_value == 1.0


def test_levels_in_words():
    said = [str(metrics.bootstrap(np.array([0.0, 1.0]), level=level, samples=10)) for level in (0.95, 0.999)]
    assert "(95%, 2 queries)" in said[0]
    assert "(99.9%, 2 queries)" in said[1]


def test_a_clear_difference_says_so():
    a = np.random.default_rng(0).random(300)
    got = metrics.paired_test(a, a - 0.3)
    assert got.p_value == pytest.approx(1 / 10_001)
    assert "p < 0.0001 (randomisation, 10,000 samples, 300 queries)" in str(got)


def test_seeded():
    values, other = np.random.default_rng(0).random((2, 100))
    assert metrics.bootstrap(values, seed=1) == metrics.bootstrap(values, seed=1)
    assert metrics.bootstrap(values, seed=1) != metrics.bootstrap(values, seed=2)
    assert metrics.paired_test(values, other, seed=1) == metrics.paired_test(values, other, seed=1)


def test_of_an_evaluation():
    rng = np.random.default_rng(0)
    codes, ids = rng.integers(0, 256, (90, 2), dtype=np.uint8), rng.integers(0, 4, 90)
    first, second = (
        metrics.evaluate(codes[:20], codes[20:] ^ flip, ids[:20], ids[20:], bits=16)
        for flip in (np.uint8(0), np.uint8(3))
    )
    interval = metrics.bootstrap(first.per_query[first.counted])
    assert interval.low < first.value < interval.high
    assert f"{first.value:.4f} [" in str(interval)
    assert metrics.paired_test(first.per_query, second.per_query).difference == pytest.approx(
        first.value - second.value
    )


def test_torch_tensors_are_taken():
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).random(30)
    assert metrics.bootstrap(torch.from_numpy(values)) == metrics.bootstrap(values)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.bootstrap(np.zeros(0)), r"bootstrap: per_query must be \[nq\] or \[nq, m\] with at least one"),
        (lambda: metrics.bootstrap(np.zeros((2, 2, 2))), "bootstrap: per_query must be"),
        (
            lambda: metrics.bootstrap(np.array([0.1, np.nan])),
            "bootstrap: per_query must be finite numbers, got float64",
        ),
        (lambda: metrics.bootstrap(np.array(["a"])), "bootstrap: per_query must be finite numbers, got <U1"),
        (lambda: metrics.bootstrap(np.ones(3), level=95), "bootstrap: level must be between 0 and 1, got 95"),
        (lambda: metrics.bootstrap(np.ones(3), samples=0), "bootstrap: samples must be a whole number of at least 1"),
        (
            lambda: metrics.bootstrap(np.ones(3), seed=-1),
            "bootstrap: seed must be a whole number of at least 0, got -1",
        ),
        (
            lambda: metrics.paired_test(np.ones(3), np.ones(3), seed=-1),
            "paired_test: seed must be a whole number of at",
        ),
        (lambda: metrics.paired_test(np.ones(3), np.ones(4)), "paired_test: b must have 3 values like a, got 4"),
        (lambda: metrics.paired_test(np.ones((3, 1)), np.ones(3)), r"paired_test: a must be \[nq\] with at least one"),
        (lambda: metrics.paired_test(np.ones(3), np.ones(3), method="t"), "paired_test: method must be one of random"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=f"^{message}") as error:
        call()
    assert "\n" not in str(error.value)
