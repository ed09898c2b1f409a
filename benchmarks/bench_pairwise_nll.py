"""Pairwise likelihood, one group a size; `python benchmarks/run.py pairwise_nll` is the interleaved form."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from cases_pairwise_nll import BANK, make_inputs

import fasthash
from fasthash.ops import pairwise_nll

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize(("n", "m", "bits"), [(128, BANK, 16), (128, BANK, 64), (128, BANK, 128), (4096, 4096, 64)])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", fasthash.backends("pairwise_nll", native=True))
def bench_forward_backward(benchmark: Callable, backend: str, device: str, n: int, m: int, bits: int) -> None:
    if backend != "reference" and (backend == "cpp") != (device == "cpu"):
        pytest.skip(f"{backend} does not run on {device}")
    x = make_inputs(n, m, bits)
    a, b = (t.detach().to(device).requires_grad_() for t in (x.a, x.b))
    labels = [packed.to(device) for packed in (x.packed_a, x.packed_b)]

    def step() -> None:
        torch.autograd.grad(pairwise_nll(a, b, *labels), (a, b))
        if device == "cuda":
            torch.cuda.synchronize()

    benchmark.group = f"pairwise_nll {n} x {m}, d {bits}, both gradients, {device}"
    with fasthash.use_backend(backend):
        benchmark(step)
