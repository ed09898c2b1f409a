"""Every Triton kernel compiles without a GPU, and needs no more than a GPU has and than the committed page says."""

import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

aot = pytest.importorskip("fasthash._kernels.aot", reason="needs triton", exc_type=ImportError)
page = pytest.importorskip("fasthash._kernels._aot_page", reason="needs triton", exc_type=ImportError)
variant_module = pytest.importorskip("fasthash._kernels._variant", reason="needs triton", exc_type=ImportError)

TABLE = Path(__file__).parents[2] / "benchmarks" / "results" / "triton_aot.md"
OPERATIONS = sorted({variant.operation for variant in aot.variants()})
FIRST = next(aot.variants())
# every architecture takes minutes: what grows on one of them seldom does not on another
COMPILED = "sm_" if os.environ.get("FASTHASH_ALL_ARCHITECTURES") else "sm_90 "


def command(*arguments):
    """The command in a process of its own, where Triton compiles."""
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    line = [sys.executable, "-m", "fasthash._kernels.aot", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, env=env)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_nothing_grows_silently(operation):
    done = command("--guarded", "--only", f"{operation} {COMPILED}", "--check", TABLE)
    assert done.returncode == 0, done.stdout + done.stderr
    guarded = [v for v in aot.variants() if v.guarded and v.name.startswith(f"{operation} {COMPILED}")]
    assert len(re.findall(r": \d+ registers, \d+ B stack, \d+ B shared", done.stdout)) == len(guarded)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_is_guarded_on_every_architecture(operation):
    count = Counter(v.arch for v in aot.variants() if v.guarded and v.operation == operation)
    assert count.keys() == set(variant_module.ARCHS)
    assert max(count.values()) <= 6  # the tests compile them


def test_names_tell_variants_apart():
    names = Counter(variant.name for variant in aot.variants())
    assert max(names.values()) == 1
    for variant in aot.variants():
        assert variant.name.startswith(f"{variant.operation} sm_{variant.arch} ")


def test_a_variant_that_does_not_exist_is_an_error():
    done = command("--only", "sm_10 ")
    assert done.returncode == 1
    assert "no variant" in done.stderr


def test_the_committed_page_holds_every_variant_within_the_limits():
    committed = page.read(TABLE)
    variants = {variant.name: variant for variant in aot.variants()}
    assert committed.rows.keys() == variants.keys()
    for name, variant in variants.items():
        used = committed.usage(name)
        assert used.problem(variant) is None
        assert committed.rows[name].startswith(f"| {name} | {variant.tile} | {variant.options['num_warps']} |")
    # in the order of variants(), a section for each operation
    assert page.text(aot.variants(), committed.rows).count("\n## ") == len(OPERATIONS)


def test_the_limits_bite():
    shared = variant_module.SHARED_LIMIT[FIRST.arch]
    assert aot.Usage(255, FIRST.stack_limit, shared, 1).problem(FIRST) is None
    assert "bytes of stack" in aot.Usage(255, FIRST.stack_limit + 8, 0, 1).problem(FIRST)
    assert "shared memory" in aot.Usage(255, 0, shared + 1, 1).problem(FIRST)


def test_growth_is_found():
    before = aot.Usage(100, 0, 10_301, 1000)  # 10.06 KiB: the page says 10.1
    for release, spare_registers, spare_shared in (
        (page.triton.__version__, 0, 0),
        ("0.0", page.REGISTERS_TOLERANCE, page.SHARED_TOLERANCE),
    ):
        stands = page.Page(release, {FIRST.name: page.row(FIRST, before)})
        assert stands.grown(FIRST, before) is None
        most = aot.Usage(100 + spare_registers, 0, before.shared + spare_shared, 2000)
        assert stands.grown(FIRST, most) is None
        assert "registers, 100 on the page" in stands.grown(FIRST, replace(most, registers=most.registers + 1))
        assert "8 bytes of stack, 0 on the page" in stands.grown(FIRST, replace(most, stack=8))
        assert "bytes of shared memory" in stands.grown(FIRST, replace(most, shared=most.shared + 128))
    assert "not on the page" in page.Page("0.0", {}).grown(FIRST, before)


def test_the_interpreter_is_refused(monkeypatch):
    monkeypatch.setattr(aot, "INTERPRETED", True)
    with pytest.raises(RuntimeError, match=r"^aot: TRITON_INTERPRET is set"):
        aot.compile_variant(FIRST)


def test_the_page_is_written_whole_and_read_again(tmp_path):
    used = aot.Usage(100, 0, 2048, 1234)
    file = tmp_path / "new" / "t.md"
    page.write(file, page.text([FIRST], {FIRST.name: page.row(FIRST, used)}))
    assert f"## {FIRST.operation}\n" in file.read_text()
    assert page.read(file).triton == page.triton.__version__
    assert page.read(file).usage(FIRST.name) == used
    assert [path.name for path in file.parent.iterdir()] == ["t.md"]
    file.write_text("no page")
    with pytest.raises(ValueError, match="is no page of compiled kernels"):
        page.read(file)


def test_a_part_is_written_into_the_page_that_stands(tmp_path):
    file = tmp_path / "t.md"
    last = list(aot.variants())[-1]
    page.write(file, page.text([last], {last.name: page.row(last, aot.Usage(1, 0, 0, 1))}))
    assert command("--only", FIRST.name, "--write", file).returncode == 0
    assert list(page.read(file).rows) == [FIRST.name, last.name]
    page.write(file, file.read_text().replace(f"Triton {page.triton.__version__};", "Triton 0.1;"))
    done = command("--only", FIRST.name, "--write", file)
    assert done.returncode == 1
    assert "was made with Triton 0.1" in done.stderr
