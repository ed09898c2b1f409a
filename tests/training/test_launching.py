"""Processes that the trainer starts: from the command line and a script, interrupted, killed, and what is refused."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from small_data import FAST, make

from fasthash import _fabric, training
from fasthash._fabric import World, world_of
from fasthash.distributed import _launch
from fasthash.training import train

PATIENCE = 240  # seconds, on a machine with much else to do
SMALL = ["--bits", "8", "--device", "cpu", "--set", "epochs=100000", "--set", "text_hidden=8", "--eval-every", "1"]
NO_PROC = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE", "RANK", *_fabric.MEETING):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ["devices", "nodes"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "2", True])
def test_counts_are_whole_numbers(name, value):
    with pytest.raises(ValueError, match=f"train: {name} must be a whole number >= 1, got {re.escape(repr(value))}"):
        train("dcmh", make(), progress=False, **{name: value})


def test_what_torchrun_started_is_what_there_is(monkeypatch):
    for name, value in (("TORCHELASTIC_RUN_ID", "x"), ("LOCAL_WORLD_SIZE", "2"), ("WORLD_SIZE", "6")):
        monkeypatch.setenv(name, value)
    assert world_of("train", None, None) == world_of("train", 2, 3) == World(2, 3, started=True)
    with pytest.raises(ValueError, match="train: devices must be 2, what torchrun started, got 4"):
        world_of("train", 4, None)
    with pytest.raises(ValueError, match="train: nodes must be 3, what torchrun started, got 1"):
        world_of("train", None, 1)


def test_somebody_elses_launcher(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert world_of("train", 2, None) == World(2, 1, started=True)


def test_machines_must_be_told_where_to_meet(monkeypatch):
    monkeypatch.setenv("MASTER_PORT", "1")
    line = "train: nodes 2 needs MASTER_ADDR, NODE_RANK in the environment of each machine, or torchrun"
    with pytest.raises(ValueError, match=line):
        world_of("train", None, 2)


def test_a_notebook_cannot_be_started_again(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    assert world_of("train", 1, None) == World()
    with pytest.raises(ValueError, match="train: devices 2 starts the program again .* put it into a script"):
        world_of("train", 2, None)


def test_more_devices_than_there_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device in ("auto", "cuda"):
        with pytest.raises(ValueError, match="train: devices must be at most 2, the CUDA devices there are, got 3"):
            _fabric.fabric_of(device, "32-true", world=World(3))
    with pytest.raises(ValueError, match="train: device mps is there once, for one process, got 2 processes"):
        _fabric.fabric_of("mps", "32-true", world=World(2))


def test_closed_forms_are_fitted_by_one_process(monkeypatch):
    with pytest.raises(ValueError, match="cca: is fitted in float64 on the CPU, devices must be 1, got 2"):
        train("cca", make(), bits=8, devices=2, progress=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="cca: is fitted by one process; start it as one, got 2"):
        train("cca", make(), bits=8, progress=False)


def test_too_few_rows_are_told_before_anything_is_started(monkeypatch):
    monkeypatch.setattr(training, "Processes", None)
    monkeypatch.setattr(_fabric, "can_start", lambda: True)  # whatever runs the tests
    with pytest.raises(ValueError, match="72 training pairs are too few for 100 processes; start fewer"):
        train("dcmh", make(), bits=8, device="cpu", devices=100, progress=False, **FAST["dcmh"])


def test_an_exchange_that_fails_says_that_somebody_has_gone(monkeypatch):
    monkeypatch.setattr(_launch, "_children", [])
    with (
        pytest.raises(_launch.LostProcess, match="^train: another process of the run has ended; go on$"),
        _launch.Processes("train", 2, 1, started=True, hint="; go on"),
    ):
        raise RuntimeError("[gloo/pair.cc:5] Connection closed by peer [127.0.0.1]:1")
    with pytest.raises(RuntimeError, match="out of memory"), _launch.Processes("train", 2, 1, started=True):
        raise RuntimeError("out of memory")
    with pytest.raises(RuntimeError, match="gloo"), _launch.Processes("train", 1, 1, started=False):
        raise RuntimeError("gloo")


def test_a_port_that_is_taken(monkeypatch):
    monkeypatch.setenv("MASTER_PORT", "29500")
    with (
        pytest.raises(RuntimeError, match="^train: MASTER_PORT 29500 is taken on this machine; name another$"),
        _launch.Processes("train", 2, 1, started=True),
    ):
        raise RuntimeError("The server socket has failed to listen on any local network address. code: EADDRINUSE")


class Child:
    """A process that has ended."""

    def __init__(self, code):
        self.code = code

    def poll(self):
        return self.code

    def wait(self, timeout):
        return self.code


@pytest.mark.parametrize(
    ("codes", "line"),
    [
        ((0, None), "process 2 of 3 ended with exit code 0"),  # its program never came to the training
        ((0, 1), "process 3 of 3 ended with exit code 1"),
        ((1, -9), "process 3 of 3 was killed by signal 9"),
        ((_launch._LOST, -9), "process 3 of 3 was killed by signal 9"),
        ((_launch._LOST, None), "another process of the run has ended"),
    ],
)
def test_the_process_that_ended_is_named(codes, line, monkeypatch, capsys):
    monkeypatch.setattr(_launch, "_children", [Child(code) for code in codes])
    for name in ("_POLL", "_SETTLE", "_PATIENCE"):
        monkeypatch.setattr(_launch, name, 0.01)
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    _launch.Processes("train", 3, 1, started=False, hint="; go on")._watch()
    assert ended == [2]
    assert capsys.readouterr().err == f"fasthash: train: {line}; go on\n"


def test_the_others_wait_while_the_first_process_scores():
    assert _fabric.fabric_of("cpu", "32-true", world=World(2)).strategy._timeout == _fabric.WAIT


def begin(*words):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, words)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True)


def end(program):
    try:
        return program.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, signal.SIGKILL)
        raise


def wait_until(what, program):
    until = time.monotonic() + PATIENCE
    while not what():
        assert program.poll() is None, end(program)
        assert time.monotonic() < until, "it takes too long"
        time.sleep(0.05)


def others(program):
    """Processes that a program has started."""
    return [int(pid) for pid in Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()]


@pytest.mark.slow
@NO_PROC
def test_the_command_line_is_interrupted(tmp_path):
    out, history = tmp_path / "run", tmp_path / "run" / "history.csv"
    program = begin("-m", "fasthash", "train", "djsrh", "synthetic", *SMALL, "--out", out, "--devices", "2")
    wait_until(history.exists, program)
    started = others(program)
    assert len(started) == 1
    os.kill(program.pid, signal.SIGINT)  # the first process alone: it tells the others
    said, told = end(program)
    assert program.returncode == 130, told
    assert said == ""
    lines = [line for line in told.splitlines() if line.startswith("fasthash:")]
    assert len(lines) == 1
    assert re.search(r"stopped in epoch \d+ of 100000; checkpoint in .*, go on with resume", lines[0])
    assert (out / "checkpoint.ckpt").exists()
    assert not Path(f"/proc/{started[0]}").exists()


SCRIPT = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from small_data import FAST, make
from fasthash import training
from fasthash.training import train

def say(text):  # whole lines: all processes write to one file
    os.write(1, f"{text}\\n".encode())

os.chdir("/")
say(f"here is {os.getpid()}")
for method in ("djsrh", "dcmh"):
    run = train(method, make(), bits=8, device="cpu", devices=3, progress=False, **FAST[method])
    say(f"{method} {run.scores.i2t!r} {run.history[0]['i2t']!r} {len(run.history)}")
try:
    train("dcmh", make(), devices=2)
except ValueError as error:
    say(error)

def dies(loop, *wanted):
    if loop.steps == 3 and os.environ["RANK"] == "2":
        os.kill(os.getpid(), signal.SIGKILL)
    return [False, False]

training.Loop._agreed = dies
try:
    train("djsrh", make(), bits=8, device="cpu", devices=3, progress=False, out=sys.argv[2])
except RuntimeError as error:
    say(error)
"""


@pytest.mark.slow
def test_a_script_runs_once_for_each_device_until_one_dies(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        program = begin("script.py", Path(__file__).parent, tmp_path / "run")
    said, told = end(program)
    assert program.returncode == 0, told
    lines = sorted(said.splitlines())
    same = [line for line in lines if not line.startswith(("here is", "train: process"))]
    assert len(same) == 9
    assert same[::3] == same[1::3] == same[2::3], "all processes have the same scores"
    assert [line.split()[0] for line in same[::3]] == ["dcmh", "djsrh", "train:"]
    assert same[-1] == "train: devices must be 3, what the launcher started, got 2"
    line = f"train: process 3 of 3 was killed by signal 9; go on from the checkpoint in {tmp_path / 'run'}, if there is"
    assert [text.startswith(line) for text in lines if text.startswith("train: process")] == [True]
    pids = [line.split()[-1] for line in lines if line.startswith("here is")]
    assert len(pids) == 3
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.slow
def test_two_machines_that_fabric_is_told_of(tmp_path):
    """Both on this one: the first machine's first process prints and writes."""
    port = _launch._free_port()
    programs = []
    for node in "01":
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": node}
        words = ["-m", "fasthash", "train", "djsrh", "synthetic", *SMALL, "--set", "batch_size=200"]
        words[words.index("epochs=100000")] = "epochs=1"
        with pytest.MonkeyPatch.context() as patch:
            for name, value in meeting.items():
                patch.setenv(name, value)
            programs.append(begin(*words, "--out", tmp_path / "run", "--nodes", "2", "--json"))
    said = []
    for program in programs:
        text, told = end(program)
        assert program.returncode == 0, told
        said.append(text)
    assert '"map_all"' in said[0]
    assert said[1] == ""
    assert (tmp_path / "run" / "scores.json").exists()
