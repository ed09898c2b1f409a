"""The benchmark scripts from end to end, at sizes that take a moment. No time is asserted."""

import json
import subprocess
import sys

import pytest
import remake
import run
from goals import Goal
from measured import RESULTS, Measured

PNG = b"\x89PNG\r\n"


def test_everything_is_remade_by_one_command(script, tmp_path):
    names = list(remake.steps(RESULTS))
    assert set(run.topics()) < set(names)
    assert names[-1] == "pictures"
    only = ("hamming", "hamming_filter", "scaling", "pictures")
    done = script("remake.py", "--quick", "--no-memory", "--out", tmp_path, "--only", *only)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "hamming_cpu.md").read_text()
    cases = json.loads((tmp_path / "hamming_cpu.json").read_text())["cases"]
    assert all(f"| {case['name']} |" in page for case in cases)
    assert "Peak memory" not in page
    goals = (tmp_path / "hamming_goals.md").read_text()
    assert "keeps 99 % | no filter | x1.15 time / x1.05 time |" in goals
    assert sum(len(case["goals"]) for case in cases) <= goals.count("\n| ")
    for name in ("hamming_goals", "hamming_scaling_speed", "hamming_scaling_ratio"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(PNG)


def test_page_with_memory_and_goals():
    report = run.load_report("hamming", quick=True)
    case = Measured("c", "b", 1e9, {"a": [1.0] * 3, "b": [3.0] * 3}, {"a": 5 << 19}, (Goal("a", "b", 2, 4),))
    page = run.page(report, [case], ["- machine: one"])
    assert "| c | a | b | x2 / x4 | x3 (x3 to x3) | reached |" in page
    assert "| c | 1 ns/pair (3.00; 3.00 to 3.00) | 3 ns/pair * |" in page
    assert "| c | 2.5 | – |" in page


def test_what_the_machine_lacks_is_left_out_and_said(monkeypatch):
    monkeypatch.setattr(remake.shutil, "which", lambda name: None)
    assert remake.why_left_out("cuda_ptxas") == "nvcc is not on PATH"
    assert remake.why_left_out("hamming") is None


def test_quick_runs_stay_out_of_the_results(script):
    for name, *arguments in (("run.py", "hamming"), ("scaling.py",), ("remake.py",), ("million_pairs.py",)):
        done = script(name, *arguments, "--quick")
        assert done.returncode == 2
        assert "benchmarks/results is for measurements" in done.stderr


def test_every_topic_is_quick_and_names_its_cases():
    for topic in set(run.topics()) - {"hamming_peers"}:
        if remake.why_left_out(topic) is not None:
            continue
        report = run.load_report(topic, quick=True)
        first = next(iter(report.cases()))
        assert first.baseline in first.contestants
        assert report.case is None or report.case(first.name).name == first.name


def test_pytest_benchmark_files_are_collected():
    for package in ("usearch", "numkong"):
        pytest.importorskip(package)
    folder = RESULTS.parent
    command = ["pytest", str(folder), "-c", str(folder / "pytest.ini"), "--collect-only", "-q"]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "bench_filter[" in done.stdout
    assert "bench_peer[" in done.stdout
