"""Cells on processes of their own: the same results for any number of them, crashes, stopping and going on."""

import json
import os
import signal
import threading
import time

import pytest
from compare_cases import DJSRH, TOWERS

from fasthash.compare import run_compare, workers
from fasthash.compare.cells import Cell


def scores(folder):
    cells = json.loads((folder / "compare.json").read_text())["cells"]
    return [(c["row"], c["bits"], c["seed"], c["result"]["scores"]) for c in cells]


def test_one_process_or_two_give_the_same(make_plan, tmp_path):
    plan = make_plan(rows=[DJSRH, TOWERS])
    said = []
    run_compare(plan, tmp_path / "one", jobs=1, progress=False)
    run_compare(plan, tmp_path / "two", jobs=2, progress=False, say=said.append)
    assert scores(tmp_path / "one") == scores(tmp_path / "two")
    assert len(said) == 4
    assert all("i2t" in line for line in said)


def test_a_process_that_dies_is_a_failed_cell_and_is_replaced(make_plan, tmp_path, monkeypatch):
    start = workers._Pool.start
    started = []

    def start_and_kill_the_first(self, log, gpu):
        process = start(self, log, gpu)
        started.append(process)
        if len(started) == 1:
            process.kill()
        return process

    monkeypatch.setattr(workers._Pool, "start", start_and_kill_the_first)
    compared = run_compare(make_plan(rows=["random"]), tmp_path, progress=False)
    assert [why for _, why in compared.failures] == ["its process was ended by SIGKILL (out of memory?)"]
    assert [state["state"] for state in compared.answers.values()] == ["failed", "done"]
    assert len(started) == 2


def test_a_process_that_cannot_start_says_why(make_plan, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONSTARTUP", "")
    monkeypatch.setattr(workers.sys, "executable", "/bin/false")
    compared = run_compare(make_plan(rows=["random"]), tmp_path, progress=False)
    assert {why for _, why in compared.failures} == {"its process ended with exit code 1"}


def test_a_task_that_a_dead_process_never_read_holds_nobody_up(make_plan, tmp_path, monkeypatch):
    """Its bytes wait in the pipe's buffer, and closing the pipe tries them again."""
    start = workers._Pool.start

    def start_and_wait_for_its_end(self, log, gpu):
        process = start(self, log, gpu)
        process.wait()
        return process

    monkeypatch.setattr(workers.sys, "executable", "/bin/false")
    monkeypatch.setattr(workers._Pool, "start", start_and_wait_for_its_end)
    compared = run_compare(make_plan(rows=["random"]), tmp_path, progress=False)
    assert {why for _, why in compared.failures} == {"its process ended with exit code 1"}


def stop_when_training(folder):
    """One SIGINT to this process alone, as soon as a worker has begun a run."""
    for _ in range(600):
        if list(folder.glob("*/run.json")):
            break
        time.sleep(0.1)
    time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGINT)


def test_what_was_stopped_goes_on_and_ends_as_if_it_had_not_been(make_plan, tmp_path):
    plan = make_plan(rows=[DJSRH.replace("epochs=2", "epochs=150")], seeds=1)
    stopper = threading.Thread(target=stop_when_training, args=(tmp_path / "parts" / "cells",))
    stopper.start()
    with pytest.raises(KeyboardInterrupt, match="stopped with 0 of 1 cells finished in .*the same command goes on"):
        run_compare(plan, tmp_path / "parts", progress=False)
    stopper.join()
    (cell,) = (tmp_path / "parts" / "cells").iterdir()
    assert (cell / "checkpoint.ckpt").exists()
    assert not (cell / "cell.json").exists()
    assert not (tmp_path / "parts" / "compare.json").exists()
    run_compare(plan, tmp_path / "parts", progress=False)
    run_compare(plan, tmp_path / "whole", progress=False)
    assert scores(tmp_path / "parts") == scores(tmp_path / "whole")


def test_no_cell_begins_after_a_stop(tmp_path):
    cell = Cell("synthetic", "0", "random", {}, 8, 0)
    pool = workers._Pool([cell], tmp_path, 1)
    pool.stopping = True
    assert pool.following() is None
