"""A room imports only from floors below its own; the search half loads NumPy alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fasthash

ROOT = Path(fasthash.__file__).parent
FLOORS = {
    "_C": 0, "_kernels": 0,
    "_files": 1, "_interrupt": 1, "_machine": 1, "_native": 1, "codes": 1, "_hamming": 1, "_histogram": 1, "_labels": 1,
    "_arguments": 1, "_canonical": 1, "_multi_index": 1, "_hamming_cuda": 1, "_hamming_stream": 1, "_histogram_cuda": 1,
    "_histograms": 1,
    "_rotation": 1,
    "ops": 2, "features": 2,
    "losses": 3, "models": 3, "data": 3, "metrics": 3, "search": 3,
    "published": 3,
    "methods": 4, "baselines": 4, "distributed": 4, "interop": 4,
    "_fabric": 4, "_progress": 4, "_run_folder": 4, "_raw_inputs": 4,
    "training": 5, "_loop": 5, "_stepper": 5, "_passes": 5, "_train_data": 5, "evaluation": 5, "encoding": 5,
    "retrieval": 5, "doctor": 5, "embedding": 5, "_finished": 5, "_fit": 5,
    "report": 6, "demo": 6, "compare": 6, "scoring": 6,
    "cli": 7, "__main__": 8,
}  # fmt: skip
# rooms of one floor that may use each other, in this direction only
SIDEWAYS = {
    ("training", "_loop"),
    ("training", "_finished"),
    ("training", "_fit"),
    ("_loop", "evaluation"),
    ("_loop", "_stepper"),
    ("_loop", "_finished"),
    ("_fit", "_finished"),
    ("_finished", "evaluation"),
    ("_loop", "_passes"),
    ("_loop", "_train_data"),
    ("demo", "report"),
    ("compare", "report"),
    ("_hamming", "_native"),
    ("_histogram", "_native"),
}
SIDEWAYS |= {("_arguments", "codes"), ("_arguments", "_native"), ("_hamming", "_arguments")}
SIDEWAYS |= {("_hamming", "_hamming_cuda"), ("_hamming_cuda", "_arguments"), ("_hamming_cuda", "_native")}
SIDEWAYS |= {("_hamming_cuda", "_hamming_stream"), ("_hamming_cuda", "codes"), ("_hamming_stream", "codes")}
SIDEWAYS |= {("_histogram", "_histogram_cuda"), ("_histogram_cuda", "_hamming_cuda"), ("_labels", "_native")}
SIDEWAYS |= {("_histogram_cuda", "_hamming_stream"), ("_histogram_cuda", "_native"), ("_hamming_stream", "_native")}
SIDEWAYS |= {("codes", "_native"), ("_hamming", "codes"), ("_histogram", "codes"), ("_histogram", "_arguments")}
SIDEWAYS |= {("_histogram", "_labels")}
SIDEWAYS |= {("_multi_index", other) for other in ("_arguments", "_hamming", "_native", "codes")}
SIDEWAYS |= {("distributed", "interop"), ("distributed", "_progress")}
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "fasthash" and len(parts) > 1 and parts[1] in FLOORS:
                found.add(parts[1])
    return found - {room_of(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path):
    room = room_of(path)
    assert room in FLOORS, f"{room} has no floor: add it to FLOORS and to the architecture in CONTRIBUTING.md"
    for other in imported_rooms(path):
        below = FLOORS[other] < FLOORS[room] or (room, other) in SIDEWAYS
        assert below, f"{path} on floor {FLOORS[room]} imports {other} on floor {FLOORS[other]}"


@pytest.mark.parametrize("module", ["fasthash", "fasthash.codes", "fasthash.search", "fasthash.metrics"])
def test_loads_without_torch(module):
    code = f"import sys, {module}; print([m for m in ('torch', 'triton', 'rich', 'safetensors') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
