"""What a comparison found: the answers of its cells, what is said of its data, the results gathered."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fasthash.compare.cells import LEARNED, Cell
from fasthash.compare.plan import Plan
from fasthash.compare.summary import Outcome, Results, Standing, judge
from fasthash.data import PairedDataset
from fasthash.features import Extractor
from fasthash.report import Comparison
from fasthash.report.comparison import Searches


@dataclass(frozen=True)
class DataFacts:
    """What is said of a data set; the arrays themselves are not kept."""

    label: str
    text: str  # as the plan names it
    checksum: str
    queries: int
    database: int
    train: int
    widths: tuple[int | None, int | None]  # of image and text features; None: raw items only
    split_checksum: str
    classes: str  # "30 classes", or the label tree
    base_classes: int
    tree: bool
    features: tuple[str, str]  # what makes the image and the text features, in a word
    train_in_database: bool  # whether any training pair is searched

    @property
    def provenance(self) -> dict[str, str]:
        """What a result file says of it."""
        return {"data": self.text, "data_checksum": self.checksum, "split_checksum": self.split_checksum}

    @classmethod
    def of(cls, label: str, text: str, data: PairedDataset) -> DataFacts:
        tree = data.tree is not None and len(data.tree) > 1
        classes = str(data.tree) if tree else f"{len(data.class_names)} classes"
        split = data.split
        widths = (data.width("image"), data.width("text"))
        sizes = (len(split.query), len(split.database), len(split.train))
        checksums = data.checksum(), data.split_checksum()
        features = _made_by(data.image_extractor), _made_by(data.text_extractor)
        searched = bool(np.isin(split.train, split.database).any())
        return cls(
            label, text, checksums[0], *sizes, widths, checksums[1], classes, len(data.class_names), tree, features,
            searched,
        )  # fmt: skip


def _made_by(extractor: Extractor | None) -> str:
    return "ready-made" if extractor is None else str(extractor.config()["kind"])


@dataclass
class Compared:
    """What a comparison found.

    ``cells``: (data label, row label, cell) in the order of the plan; ``answers``: by folder of the cell, with "state"
    done or failed and "result" and "provenance", or "error"; ``curves``: by (data label, row label, bits) the first
    seed that was scored and what `curves.read` gives of it.
    """

    plan: Plan
    data: dict[str, DataFacts]
    cells: list[tuple[str, str, Cell]]
    answers: dict[str, dict[str, Any]]
    folder: Path = Path()  # of the cells
    started: str = ""
    seconds: float = 0.0
    reused: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    results: Results = field(default_factory=Results)
    curves: dict[tuple[str, str, int], tuple[int, dict[str, Any]]] = field(default_factory=dict)
    standings: list[Standing] = field(default_factory=list)
    searches: dict[str, Searches] = field(default_factory=dict)  # by data label
    shown: Comparison | None = None
    files: list[Path] = field(default_factory=list)

    @property
    def failures(self) -> list[tuple[str, str]]:
        """(cell, why) of those that failed."""
        found = {title(data, row, cell): self.answers[cell.folder] for data, row, cell in self.cells}
        return [(name, answer["error"]) for name, answer in found.items() if answer["state"] == "failed"]

    def gather(self) -> None:
        """Fill ``results`` and ``outcomes`` from the answers."""
        learned = {row.label for row in self.plan.rows if row.learned}
        for data, row, cell in self.cells:
            answer = self.answers[cell.folder]
            if answer["state"] == "done":
                result = answer["result"]
                if row in learned:  # one run is measured with both databases
                    result = result | {"scores": result[LEARNED]}
                self.results.add(data, row, cell.bits, cell.seed, result, fixed=cell.fixed)
        self.outcomes = judge(self.plan, self.results)


def title(data: str, row: str, cell: Cell) -> str:
    """A cell for people: "dcmh, 64 bits, seed 0, on wiki"."""
    bits = "real values" if cell.bits is None else f"{cell.bits} bits"
    return f"{row}, {bits}, seed {cell.seed}, on {data}"
