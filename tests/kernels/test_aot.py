"""Every Triton kernel compiles without a GPU, and needs no more than a GPU has."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

aot = pytest.importorskip("fasthash._kernels.aot", reason="needs triton", exc_type=ImportError)

TABLE = Path(__file__).parents[2] / "benchmarks" / "results" / "triton_aot.md"


def compile_only(*names):
    """What the command says about the variants with these in their names, one process for all."""
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "fasthash._kernels.aot"]
    return subprocess.run([*command, *(f"--only={name}" for name in names)], capture_output=True, text=True, env=env)


def test_kernels_compile_within_the_limits():
    chosen = [
        "sm_80 tf32x3 d 64 masks: loss + dx + dy", "sm_80 tf32 d 128 masks: loss + dx + dy",
        "sm_90 tf32 d 64 masks: loss + dx + dy", "sm_90 half d 128 masks: loss + dx + dy", "sm_90 tf32x3 d 64 ids",
        "sm_100 tf32 d 64 masks x2", "sm_100 half d 64 dense",
    ]  # fmt: skip
    done = compile_only(*chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r": \d+ registers, \d+ B stack, \d+ B shared", done.stdout)) == len(chosen)


def test_a_variant_that_does_not_exist_is_an_error():
    done = compile_only("sm_10 ")
    assert done.returncode == 1
    assert "no variant" in done.stderr


def test_the_committed_table_holds_every_variant_within_the_limits():
    rows = {}
    for line in TABLE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0].startswith("pairwise_nll"):
            name, tile, warps, registers, stack, shared, count = cells
            used = aot.Usage(int(registers), int(stack), round(float(shared) * 1024), int(count.replace(",", "")))
            rows[name] = tile, int(warps), used
    variants = {variant.name: variant for variant in aot.variants()}
    assert rows.keys() == variants.keys()
    for name, (tile, warps, used) in rows.items():
        assert tile == aot.tile(variants[name])
        assert warps == variants[name].options["num_warps"]
        assert used.problem(variants[name]) is None


def test_the_limits_bite():
    variant = next(iter(aot.variants()))
    assert aot.Usage(255, variant.stack_limit, aot.SHARED_LIMIT[80], 1).problem(variant) is None
    assert "bytes of stack" in aot.Usage(255, variant.stack_limit + 8, 0, 1).problem(variant)
    assert "shared memory" in aot.Usage(255, 0, aot.SHARED_LIMIT[80] + 1, 1).problem(variant)


def test_the_interpreter_is_refused(monkeypatch):
    monkeypatch.setattr(aot, "INTERPRETED", True)
    with pytest.raises(RuntimeError, match=r"^aot: TRITON_INTERPRET is set"):
        aot.compile_variant(next(iter(aot.variants())))


def test_the_table_is_written_whole(tmp_path):
    variant = next(iter(aot.variants()))
    aot.write(tmp_path / "new" / "t.md", aot.table([(variant, aot.Usage(100, 0, 2048, 1234))]))
    text = (tmp_path / "new" / "t.md").read_text()
    assert f"| {variant.name} | {aot.tile(variant)} | 8 | 100 | 0 | 2.0 | 1,234 |" in text
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["t.md"]
