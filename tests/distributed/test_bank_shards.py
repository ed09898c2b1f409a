"""Code banks of which each rank keeps its rows: losses, gradients, sums and states are those of one whole bank."""

import bank_work
import numpy as np

ROUNDING = {"rtol": 1e-5, "atol": 1e-5}  # float32 sums over pairs in another order


def test_steps_against_shards_are_those_against_the_whole(ranks):
    want, codes, column_sum = bank_work.walk(0, 1)
    results = ranks(bank_work.walk)
    for told, _, sums in results:
        for got, expected in zip(told, want, strict=True):
            np.testing.assert_allclose(got, expected, **ROUNDING)
        np.testing.assert_allclose(sums, column_sum, rtol=1e-12, atol=1e-12)  # in float64
        np.testing.assert_array_equal(sums, results[0][2])
    np.testing.assert_array_equal(np.concatenate([kept for _, kept, _ in results]), codes)


def test_the_first_rank_saves_the_whole(ranks):
    (want_first, want_last), names = bank_work.saved(0, 1)
    (first, last), found = ranks(bank_work.saved)[0]
    assert found == names
    for got, want in ((first, want_first), (last, want_last)):
        np.testing.assert_array_equal(got["codes"], want["codes"])
        np.testing.assert_allclose(got["column_sum"], want["column_sum"], rtol=1e-12, atol=1e-12)
    assert all("codes" not in state for states, _ in ranks(bank_work.saved)[1:] for state in states)


def test_any_number_of_ranks_goes_on_from_it(ranks):
    state = bank_work.saved(0, 1)[0][1]
    rest, again, sums, codes = bank_work.loaded(0, 1, state)
    results = ranks(bank_work.loaded, state)
    for got_rest, got_again, got_sums, _ in results:
        for got, want in ((got_rest, rest), (got_again, again), (got_sums, sums)):
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(np.concatenate([result[3] for result in results]), codes)


def test_the_first_ranks_answer_is_everybodys(ranks):
    assert all(answer.tolist() == [3.0, 3.0] for answer in ranks(bank_work.same))
