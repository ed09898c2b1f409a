"""Several processes train what one trains: the same network, to rounding, and any number of them go on from another."""

import functools
import json

import numpy as np
import process_work
import pytest

pytestmark = pytest.mark.slow
# float32 sums in another order, over two epochs; BertAdam divides by the size of gradients, however small
TOLERANCE = {"mith": {"rtol": 2e-3, "atol": 2e-4}}
ROUNDING = {"rtol": 2e-4, "atol": 2e-5}


@pytest.fixture(scope="module")
def alone():
    """Runs of one process, each made when it is first asked for."""
    return functools.cache(functools.partial(process_work.run, 0, 1))


def assert_same_run(name, got, want):
    (state, history, learned), (want_state, want_history, want_learned) = got, want
    assert state.keys() == want_state.keys()
    for key, value in want_state.items():
        near = TOLERANCE.get(name, ROUNDING)
        np.testing.assert_allclose(state[key], value, **near, err_msg=key)
    assert len(history) == len(want_history)
    for entry, expected in zip(history, want_history, strict=True):
        for key in (key for key in expected if key.startswith(("loss_", "term_"))):
            assert entry[key] == pytest.approx(expected[key], rel=1e-4, abs=1e-6), key
    assert (learned is None) == (want_learned is None)
    for codes, expected in zip(learned or (), want_learned or (), strict=True):
        np.testing.assert_array_equal(codes, expected)


def assert_one_run(results):
    """Every process got the same, to the bit."""
    state, history, learned = results[0]
    for other_state, other_history, other_learned in results[1:]:
        for key, value in state.items():
            np.testing.assert_array_equal(other_state[key], value, err_msg=key)
        for entry, expected in zip(other_history, history, strict=True):
            assert entry | {"seconds": 0} == expected | {"seconds": 0}
        np.testing.assert_equal(other_learned, learned)


@pytest.mark.parametrize("name", process_work.names())
def test_several_processes_train_what_one_trains(name, ranks_of, alone):
    results = ranks_of(3)(process_work.run, name)
    assert_same_run(name, results[0], alone(name))
    assert_one_run(results)


@pytest.mark.parametrize("worlds", [(1, 2, 3), (3, 2, 1)], ids=["1 to 2 to 3", "3 to 2 to 1"])
@pytest.mark.parametrize("name", process_work.STOPPED)
def test_any_number_goes_on_from_any_other(name, worlds, ranks_of, alone, tmp_path):
    out = tmp_path / "run"

    def run(world, stop_after=None):
        if world == 1:
            return [process_work.run(0, 1, name, out, stop_after)]
        return ranks_of(world)(process_work.run, name, out, stop_after)

    for world in worlds[:-1]:
        assert all(told.startswith("stopped in epoch") for told in run(world, stop_after=4))
        assert (out / "checkpoint.ckpt").exists()
    assert_same_run(name, run(worlds[-1])[0], alone(name))
    assert json.loads((out / "run.json").read_text())["processes"] == worlds[-1]
    assert not (out / "checkpoint.ckpt").exists()
