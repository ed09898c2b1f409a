"""Comparisons small enough for a test."""

import pytest
from compare_cases import DATA, DJSRH

from fasthash.compare import Plan, _worker, run


@pytest.fixture
def make_plan():
    """A plan of a tiny method and random codes; keywords replace its parts."""

    def make(**parts):
        whole = {"rows": [{"method": DJSRH, "name": "djsrh"}, "random"], "data": [DATA], "bits": [8], "seeds": 2}
        return Plan.make("plan", **(whole | parts))

    return make


@pytest.fixture
def in_process(monkeypatch):
    """Cells run in this process instead of in workers; what was run, in order."""
    ran = []

    def run_cells(cells, folder, report, **rest):
        for cell in cells:
            do = rest.get("do", "run")
            if do == "run":
                ran.append(cell)
            task = {"do": do, "cell": cell.to_dict(), "folder": str(folder)}
            report(cell, _worker._answer(task, {}))
        return True

    monkeypatch.setattr(run, "run_cells", run_cells)
    return ran
