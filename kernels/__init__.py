"""Triton kernels, installed as ``fasthash._kernels``. Importing this needs triton; nothing here asks for a device."""

import triton


@triton.jit
def _probe() -> None:
    pass


# Triton decides at decoration time: what the environment says later changes nothing.
INTERPRETED = not isinstance(_probe, triton.JITFunction)
