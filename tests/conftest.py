"""Settings of the whole run, made before anything imports triton."""

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # Triton decides at import: kernels then run on CPU tensors
