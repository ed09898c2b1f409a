"""csrc/cuda compiled for the CPU, and CPU tensors that pass for CUDA tensors, so that all above a device is tested."""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fasthash import _hamming_stream, _native

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def cuda_module(tmp_path_factory):
    """The CUDA functions of fasthash._C, bindings included; their pointers are the CPU's."""
    pybind11 = pytest.importorskip("pybind11")
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    folder, emulator = tmp_path_factory.mktemp("emulated"), ROOT / "tests" / "native" / "cuda_emulator"
    target = folder / f"emulated_cuda{sysconfig.get_config_var('EXT_SUFFIX')}"
    includes = [emulator, ROOT / "csrc", pybind11.get_include(), sysconfig.get_path("include")]
    flags = [
        "-std=c++17",
        "-O1",
        "-fno-strict-aliasing",
        "-fPIC",
        "-D_GLIBCXX_ASSERTIONS",
        "-DFASTHASH_WITH_CUDA",
        *(f"-I{i}" for i in includes),
    ]
    sources = [*(ROOT / "csrc" / "cuda").glob("*.cu"), ROOT / "csrc/bindings/hamming_cuda.cpp", emulator / "module.cpp"]
    objects = [folder / f"{source.name}.o" for source in sources]
    commands = [
        [compiler, *flags, "-x", "c++", "-c", str(source), "-o", str(result)]
        for source, result in zip(sources, objects, strict=True)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda command: subprocess.run(command, check=True), commands))
    subprocess.run([compiler, "-shared", *map(str, objects), "-o", str(target)], check=True)
    spec = importlib.util.spec_from_file_location("emulated_cuda", target)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Stream:
    """A queue that is always empty."""

    cuda_stream = 0

    def __init__(self, device=None):
        pass

    def wait_stream(self, other):
        pass

    def wait_event(self, event):
        pass


class _Event:
    def record(self, stream=None):
        pass

    def synchronize(self):
        pass


@pytest.fixture
def emulated_cuda(cuda_module, monkeypatch):
    """Inside a test every torch tensor counts as a CUDA tensor; NumPy arrays stay on the CPU."""
    native = _native.load()
    names = {name: getattr(cuda_module, name) for name in dir(cuda_module) if not name.startswith("_")}
    with_cuda = SimpleNamespace(**{name: getattr(native, name) for name in dir(native) if name[0] != "_"} | names)
    monkeypatch.setattr(_native, "load", lambda: with_cuda)
    monkeypatch.setattr(_native, "cuda_reason", lambda: None)
    monkeypatch.setattr(_native, "is_cuda", _native.is_torch)
    monkeypatch.setattr(_hamming_stream, "PINNED", False)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: _Stream())
    monkeypatch.setattr(torch.cuda, "Stream", _Stream)
    monkeypatch.setattr(torch.cuda, "Event", _Event)
    return with_cuda


_NEEDS_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.fixture(params=["emulated", pytest.param("cuda", marks=_NEEDS_GPU)])
def device(request):
    """Where tensors count as being on a device. NumPy arrays stay on the host."""
    if request.param == "emulated":
        request.getfixturevalue("emulated_cuda")
    return "cpu" if request.param == "emulated" else "cuda"
