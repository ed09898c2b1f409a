"""Settings of the whole run, made before anything imports triton."""

import os

import pytest
import torch

pytest_plugins = ["cuda_emulation"]

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # Triton decides at import: kernels then run on CPU tensors


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
