"""Several processes train what one trains: the same network, to rounding, and any number of them go on from another."""

import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import process_work
import pytest
import torch

import fasthash
from fasthash._run_folder import read_history

pytestmark = pytest.mark.slow
WORLDS = (2, 3)
# float32 sums in another order, over two epochs; BertAdam divides by the size of gradients, however small
TOLERANCE = {"mith": {"rtol": 2e-3, "atol": 2e-4}}
ROUNDING = {"rtol": 2e-4, "atol": 2e-5}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """World -> folder of what so many processes made."""
    home = tmp_path_factory.mktemp("worlds")
    for name in process_work.STOPPED:
        for world in WORLDS:
            told = process_work.run(name, home / str(world) / "begun elsewhere" / name, stop_after=7)
            assert told.startswith("stopped in epoch"), told
    started = [launch(world, home / str(world)) for world in WORLDS]
    for torchrun in started:
        try:
            told = torchrun.communicate(timeout=400)[1]
        except subprocess.TimeoutExpired:
            for each in started:
                os.killpg(each.pid, signal.SIGKILL)  # the processes that it started, too
            raise
        assert torchrun.returncode == 0, told[-3000:]
    return {world: home / str(world) for world in WORLDS}


def launch(world, folder):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world)]
    command += [str(Path(process_work.__file__)), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)


@pytest.fixture(scope="module")
def alone():
    """Runs of one process, each made when it is first asked for."""
    return functools.cache(process_work.run)


def assert_same_run(folder, name, want):
    got = fasthash.HashModel.load(folder).state_dict()
    for key, value in want.model.state_dict().items():
        if value.is_floating_point():
            near = TOLERANCE.get(name, ROUNDING)
            torch.testing.assert_close(got[key], value, **near, msg=lambda text, key=key: f"{key}: {text}")
    history = read_history(folder)
    assert len(history) == len(want.history)
    for entry, expected in zip(history, want.history, strict=True):
        for key in (key for key in expected if key.startswith(("loss_", "term_"))):
            assert entry[key] == pytest.approx(expected[key], rel=1e-4, abs=1e-6), key
    if want.learned is not None:
        with np.load(folder / "learned.npz") as learned:
            np.testing.assert_array_equal(learned["packed"], want.learned.packed)
            np.testing.assert_array_equal(learned["rows"], want.learned.rows)
    assert not (folder / "checkpoint.ckpt").exists()


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", process_work.names())
def test_several_processes_train_what_one_trains(name, world, trained, alone):
    assert_same_run(trained[world] / name, name, alone(name))


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", process_work.STOPPED)
def test_several_go_on_where_one_stopped(name, world, trained, alone):
    folder = trained[world] / "begun elsewhere" / name
    assert_same_run(folder, name, alone(name))
    assert json.loads((folder / "run.json").read_text())["processes"] == world


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", process_work.STOPPED)
def test_one_goes_on_where_several_stopped(name, world, trained, alone):
    folder = trained[world] / "begun here" / name
    assert (folder / "checkpoint.ckpt").exists()
    process_work.run(name, folder)
    assert_same_run(folder, name, alone(name))
