"""setup.py with toolkits that are shell scripts: what is compiled, for which GPUs, and what a failure says."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import setuptools
from hypothesis import given
from hypothesis import strategies as st
from setuptools import Distribution, Extension

ROOT = Path(__file__).parent.parent
NVCC = """#!/bin/sh
[ "$1" = --list-gpu-arch ] && {{ printf '{known}'; exit 0; }}
for word in "$@"; do printf '%s\\n' "$word"; done > "{log}"
{then}
"""
WRITES = 'while [ "$1" != -o ]; do shift; done; echo > "$2"'


@pytest.fixture(scope="module")
def module():
    before, setuptools.setup = setuptools.setup, lambda **_: None
    try:
        spec = importlib.util.spec_from_file_location("fasthash_setup", ROOT / "setup.py")
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
    finally:
        setuptools.setup = before
    return loaded


@pytest.fixture
def toolkit(tmp_path, monkeypatch):
    """Makes a toolkit, the one that setup.py finds, and returns its folder."""
    monkeypatch.delenv("FASTHASH_CUDA", raising=False)
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST", raising=False)

    def make(then=WRITES, known="compute_80\\ncompute_90\\ncompute_100\\ncompute_120\\n", lib=True, name="cuda"):
        home = tmp_path / name
        (home / "bin").mkdir(parents=True)
        (home / "lib64").mkdir()
        script(home / "bin" / "nvcc", NVCC.format(known=known, log=tmp_path / "nvcc.log", then=then))
        if lib:
            (home / "lib64" / "libcudart_static.a").touch()
        monkeypatch.setenv("CUDA_HOME", str(home))
        return home

    return make


def script(path, text):
    path.write_text(text)
    path.chmod(0o755)


def gencodes(tmp_path):
    return [line for line in (tmp_path / "nvcc.log").read_text().splitlines() if line.startswith("-gencode")]


def test_default_archs_are_compiled_and_the_last_ones_ptx_kept(module, toolkit, tmp_path):
    home = toolkit()
    cuda, reason = module.find_cuda()
    assert (cuda.home, cuda.lib, reason) == (home, home / "lib64", "")
    assert cuda.archs == ["8.0", "9.0a", "10.0+PTX", "12.0"]
    assert gencodes(tmp_path) == [  # the probe compiles what the build will compile
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_90a,code=sm_90a",
        "-gencode=arch=compute_100,code=sm_100",
        "-gencode=arch=compute_100,code=compute_100",
        "-gencode=arch=compute_120,code=sm_120",
    ]


@pytest.mark.parametrize(
    ("known", "archs"),
    [
        ("compute_80\\ncompute_90\\n", ["8.0+PTX", "9.0a"]),
        ("compute_90\\ncompute_100\\ncompute_103\\n", ["9.0a", "10.0+PTX"]),
        ("", ["8.0", "9.0a", "10.0+PTX", "12.0"]),
    ],
)
def test_default_archs_that_nvcc_does_not_know_are_dropped(module, toolkit, known, archs):
    toolkit(known=known)
    assert module.find_cuda()[0].archs == archs


def test_an_nvcc_that_knows_no_default_arch(module, toolkit):
    home = toolkit(known="compute_50\\n")
    assert module.find_cuda() == (None, f"nvcc at {home} knows none of 8.0 9.0a 10.0+PTX 12.0")


def test_asked_archs_are_taken_as_they_are(module, toolkit, monkeypatch, tmp_path):
    toolkit()
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.6+PTX; 9.0a")
    assert module.find_cuda()[0].archs == ["8.6+PTX", "9.0a"]
    assert gencodes(tmp_path)[1:] == [
        "-gencode=arch=compute_86,code=compute_86",
        "-gencode=arch=compute_90a,code=sm_90a",
    ]


@pytest.mark.parametrize("archs", ["Hopper", "8.0;sm_90", "9", "9.0a+ptx", "8.0,9.0", '8.0"'])
def test_archs_that_are_none(module, toolkit, monkeypatch, archs):
    toolkit()
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", archs)
    with pytest.raises(SystemExit, match=r"^TORCH_CUDA_ARCH_LIST: expected entries like .*, got '\S+'$"):
        module.find_cuda()


@pytest.mark.parametrize("lib", [True, False])
def test_a_toolkit_that_cannot_be_used_is_a_reason(module, toolkit, monkeypatch, lib):
    then = "echo first >&2; echo 'bad \"arch\" \\u99' >&2; exit 1" if lib else WRITES
    home = toolkit(then, lib=lib)
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "99.0")
    why = f'nvcc at {home} failed for 99.0: bad "arch" \\u99' if lib else f"libcudart_static.a not found under {home}"
    assert module.find_cuda() == (None, why)
    monkeypatch.setenv("FASTHASH_CUDA", "on")
    with pytest.raises(SystemExit) as stop:
        module.find_cuda()
    assert stop.value.code == f"FASTHASH_CUDA=on, but CUDA cannot be used: {why}"


def test_a_folder_without_nvcc(module, toolkit):
    home = toolkit()
    (home / "bin" / "nvcc").unlink()
    cuda, reason = module.find_cuda()
    assert cuda is None
    assert reason.startswith(f"nvcc at {home} does not run: ")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_c_strings_are_plain_and_keep_the_text(module, text):
    literal = module.c_string(text)
    assert literal.isascii()
    assert literal.isprintable()
    assert ast.literal_eval("b" + literal).decode() == text  # Python's bytes have C's octal escapes


def test_a_reason_reaches_the_module_as_it_is(module, tmp_path):
    reason = 'nvcc said: ‘bad "arch" \\u99\\’ $HOME `x`\t%d'
    source = tmp_path / "reason.cpp"
    source.write_text("#include <cstdio>\nint main() { fputs(FASTHASH_NO_CUDA_REASON, stdout); }\n")
    _, told, _ = module.compile_flags(None, reason)
    build = tmp_path / "build.ninja"
    build.write_text(f"rule cxx\n  command = c++ {module.sh(told[-1])} $in -o $out\nbuild reason: cxx reason.cpp\n")
    subprocess.run([sys.executable, "-m", "ninja", "-C", str(tmp_path)], check=True, capture_output=True)
    assert subprocess.run([tmp_path / "reason"], capture_output=True).stdout.decode() == reason


@pytest.fixture
def command(module, monkeypatch, tmp_path):
    """BuildNative over a csrc/ of two files, in folders with a space and a dollar sign."""
    root = tmp_path / "my $src"
    (root / "csrc" / "cuda").mkdir(parents=True)
    (root / "csrc" / "one.cpp").touch()
    (root / "csrc" / "cuda" / "two.cu").touch()
    monkeypatch.setattr(module, "ROOT", root)
    script(tmp_path / "c++", f'#!/bin/sh\nprintf "%s\\n" "$@" > "{tmp_path}/c++.log"\n{WRITES}\n')
    monkeypatch.setenv("CXX", str(tmp_path / "c++"))
    command = module.BuildNative(Distribution({"name": "x", "ext_modules": [Extension("x._C", [])]}))
    command.build_temp, command.build_lib = str(tmp_path / "build $temp"), str(tmp_path / "lib")
    command.ensure_finalized()
    return command


def test_paths_with_spaces_and_dollars(command, toolkit, tmp_path):
    home = toolkit(name="cu da $x")
    command.build_extension(command.extensions[0])
    assert Path(command.get_ext_fullpath("x._C")).exists()
    words = (tmp_path / "nvcc.log").read_text().splitlines()
    assert str(tmp_path / "my $src" / "csrc" / "cuda" / "two.cu") in words
    assert f"-I{tmp_path}/my $src/csrc" in words
    assert f"-L{home}/lib64" in (tmp_path / "c++.log").read_text().splitlines()  # the link comes last


def test_a_failed_build_is_one_line(command, toolkit, monkeypatch):
    toolkit()
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(SystemExit, match=r"^fasthash._C: ninja failed with exit status 1; .*$"):
        command.build_extension(command.extensions[0])


def test_required_gpu_that_is_missing_fails_the_run():
    env = os.environ | {"FASTHASH_REQUIRE_GPU": "1", "CUDA_VISIBLE_DEVICES": ""}
    run = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", "tests/ops/test_ops_hamming.py"]
    done = subprocess.run(run, capture_output=True, text=True, env=env, cwd=ROOT)
    assert done.returncode == 1
    said = (done.stdout + done.stderr).strip().splitlines()
    assert len(said) == 1
    assert "FASTHASH_REQUIRE_GPU is set, but the GPU tests cannot run: " in said[0]


@pytest.mark.parametrize(
    ("name", "machine", "flag"),
    [
        ("x.cpp", "x86_64", None),
        ("x_avx2.cpp", "x86_64", "-mavx2"),
        ("x_avx512.cpp", "AMD64", "-mavx512bw"),
        ("x_avx512bf16.cpp", "x86_64", "-mavx512bf16"),
        ("x_amx.cpp", "x86_64", "-mamx-bf16"),
        ("x_neon.cpp", "arm64", None),
    ],
)
def test_instruction_sets_by_file_name(module, monkeypatch, name, machine, flag):
    monkeypatch.setattr(module.platform, "machine", lambda: machine)
    flags = module.isa_flags(Path(name))
    assert flag in flags if flag else flags == []
    if flag not in (None, "-mavx2"):
        assert {"-mavx512f", "-mavx512vl", "-mfma"} <= set(flags)
    monkeypatch.setattr(module.platform, "machine", lambda: "aarch64" if "64" in machine and flag else "x86_64")
    assert (module.isa_flags(Path(name)) is None) == (name != "x.cpp")
