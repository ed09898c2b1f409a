"""A worker process: reads cells as JSON lines on its standard input, answers each with a line on its standard output.

python -m fasthash.compare._worker THREADS     {"do": "run", "cell": {...}, "folder": "..."} -> {"state": ...}
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not stand among the answers
    try:
        import torch

        torch.set_num_threads(int(sys.argv[1]))
        loaded: dict[str, Any] = {}
        for line in sys.stdin:
            answers.write(json.dumps(_answer(json.loads(line), loaded)) + "\n")
            answers.flush()
    except KeyboardInterrupt:
        sys.exit(130)


def _answer(task: dict[str, Any], loaded: dict[str, Any]) -> dict[str, Any]:
    """The result of one cell; an error of the cell is an answer as well, a stop ends the worker after it."""
    from fasthash.compare.cells import Cell, add_curves, load_data, run_cell
    from fasthash.compare.items import parse_item

    cell = Cell(**task["cell"])
    try:
        if cell.data not in loaded:
            loaded.clear()  # one data set at a time
            loaded[cell.data] = load_data(parse_item(cell.data, "data"))
        work = {"run": run_cell, "curves": add_curves}[task.get("do", "run")]
        return work(cell, loaded[cell.data], Path(task["folder"]))
    except KeyboardInterrupt:
        return {"state": "stopped"}
    except Exception as error:  # the other cells go on
        line = " ".join(str(error).split()) or type(error).__name__
        return {
            "state": "failed",
            "error": line if isinstance(error, (ValueError, FloatingPointError)) else f"{type(error).__name__}: {line}",
        }


if __name__ == "__main__":
    main()
