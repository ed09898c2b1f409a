"""What `import fasthash.search` costs beyond NumPy's own import, in fresh interpreters, with FAISS's beside it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

from cases import Case, Report
from goals import Goal

NUMPY = "numpy"
AT_MOST, AIM = 0.04, 0.02  # seconds beyond NumPy's import
IMPORTS = {  # contestant -> module
    NUMPY: "numpy",
    "numpy + fasthash": "fasthash",
    "numpy + fasthash.search": "fasthash.search",
    "numpy + fasthash.metrics": "fasthash.metrics",
    "numpy + faiss": "faiss",
    "numpy + torch": "torch",
}


def by(module: str) -> Callable[[], object]:
    """A fresh interpreter that imports NumPy and the module, and ends at once."""
    code = f"import os, numpy, {module}; os._exit(0)"  # without tearing everything down again
    return lambda: subprocess.run([sys.executable, "-c", code], check=True)


def check() -> None:
    """Raises if fasthash.search loads torch."""
    code = "import sys, fasthash.search, fasthash.metrics; sys.exit('torch' in sys.modules)"
    if subprocess.run([sys.executable, "-c", code], check=False).returncode:
        raise AssertionError("check: import fasthash.search or fasthash.metrics loads torch, or fails")


def report(quick: bool = False) -> Report:
    def cases() -> Iterator[Case]:
        imports = {name: by(module) for name, module in IMPORTS.items() if not (quick and module == "torch")}
        goals = (
            Goal("numpy + fasthash.search", NUMPY, AT_MOST, AIM, "beyond"),
            Goal("numpy + faiss", NUMPY, None, None, "beyond"),  # nothing is asked: to compare with
        )
        yield Case("fresh interpreter", imports, NUMPY, 0.0, check, goals)

    return Report(
        file="import_cpu",
        title="Time to import",
        unit="import",
        notes=(
            "A fresh interpreter that imports NumPy and one thing more; its own start is in every time.",
            "fasthash.search and fasthash.metrics do not load torch, which is checked first.",
        ),
        versions=("numpy", "faiss-cpu", "torch"),
        cases=cases,
        rounds=3 if quick else 21,
    )
