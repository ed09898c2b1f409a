"""csrc's AMX kernels compiled over software tiles (amx_emulator/): what they compute, on processors without AMX."""

import ctypes
import importlib.util
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import setuptools

from fasthash import _native

ROOT = Path(__file__).parents[2]
SOURCES = ("pair_*.cpp", "run_on_threads.cpp", "isa.cpp")


class _Side(ctypes.Structure):
    """`Side` of amx_emulator/module.cpp."""

    _fields_ = [
        ("x", ctypes.c_void_p), ("rows", ctypes.c_int64), ("stride", ctypes.c_int64), ("labels", ctypes.c_void_p),
        ("label_stride", ctypes.c_int64), ("weights", ctypes.c_void_p), ("grad", ctypes.c_void_p),
    ]  # fmt: skip


class EmulatedAmx:
    """``fasthash._C.pairwise_nll`` with AMX's products, whatever this processor has."""

    def __init__(self, library):
        self._library = library
        library.pairwise_nll.restype = ctypes.c_double
        library.products.restype = ctypes.c_long

    def pairwise_nll(self, problem, scale, threads, bf16_codes):
        a, b, d, words, dense, weights, factor = problem
        sides = [ctypes.byref(_Side(*side)) for side in (a, b)]
        sizes, pointers = map(ctypes.c_int64, (d, words)), map(ctypes.c_void_p, (dense, weights))
        before = self._library.products()
        scales = map(ctypes.c_float, (factor, scale))
        loss = self._library.pairwise_nll(*sides, *sizes, *pointers, *scales, int(bf16_codes), threads)
        assert threads > 1 or self._library.products() > before
        assert not self._library.configured()
        return loss

    def trial(self, fault):
        return bool(self._library.trial(ctypes.c_float(fault)))


def _isa_flags():
    """setup.py's function of that name; not from threads: `setup` is replaced for everybody while the file is read."""
    before, setuptools.setup = setuptools.setup, lambda **_: None
    try:
        spec = importlib.util.spec_from_file_location("fasthash_setup_flags", ROOT / "setup.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        setuptools.setup = before
    return module.isa_flags


@pytest.fixture(scope="session")
def emulated_amx(tmp_path_factory):
    if _native.reason() is not None or "avx512_bf16" not in _native.bf16_names():
        pytest.skip("needs a processor with AVX512_BF16: the AMX kernels use its conversions")
    if os.environ.get("FASTHASH_SANITIZED"):
        pytest.skip("a compiler cannot be run beside a sanitizer")
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    folder, emulator = tmp_path_factory.mktemp("amx"), Path(__file__).parent / "amx_emulator"
    sources = [path for pattern in SOURCES for path in sorted((ROOT / "csrc" / "cpu").glob(pattern))]
    isa_flags = _isa_flags()
    sources = [path for path in (*sources, emulator / "module.cpp") if isa_flags(path) is not None]
    flags = ["-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-fno-math-errno", f"-I{emulator}"]

    def build(source):
        result = folder / f"{source.name}.o"
        isa = [flag for flag in isa_flags(source) if not flag.startswith("-mamx")]
        includes = [*flags, f"-I{ROOT / 'csrc'}", *isa]
        subprocess.run([compiler, *includes, "-c", str(source), "-o", str(result)], check=True)
        return result

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(build, sources))
    library = folder / "emulated_amx.so"
    subprocess.run([compiler, "-shared", "-pthread", *map(str, objects), "-o", str(library), "-ldl"], check=True)
    return EmulatedAmx(ctypes.CDLL(str(library)))
