"""Settings of the whole run, made before anything imports triton."""

import functools
import os

import pytest

if os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process per core; read when torch is imported

import torch

pytest_plugins = ["cuda_emulation"]

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # Triton decides at import: kernels then run on CPU tensors


@pytest.fixture(autouse=True, scope="session")
def float32_stays_float32():
    """The tolerances are those of float32 products, which AMX makes of split numbers; test_pair_bf16.py asks for it."""
    from fasthash import _native

    if _native.reason() is not None or "amx_bf16" not in _native.bf16_names():
        yield
        return
    with _native.use_bf16("avx512_bf16"):
        yield


@pytest.fixture(scope="session")
def ranks_of(tmp_path_factory):
    """Number of processes -> a group of so many, made when first asked for: starting one takes longer than its work."""
    from rank_processes import Ranks

    made = []

    @functools.cache
    def of(world):
        made.append(Ranks(world, tmp_path_factory.mktemp("ranks")))
        return made[-1]

    yield of
    for each in made:
        each.close()


def pytest_configure() -> None:
    """FASTHASH_REQUIRE_GPU=1: a run that would skip every GPU test fails instead."""
    if not os.environ.get("FASTHASH_REQUIRE_GPU"):
        return
    from fasthash import _native

    why = _native.cuda_reason()
    if not torch.cuda.is_available():
        why = "torch.cuda.is_available() is False"
    if why is not None:
        pytest.exit(f"FASTHASH_REQUIRE_GPU is set, but the GPU tests cannot run: {why}", returncode=1)
