"""The rows that loss_scaling.py measures and pictures_loss_scaling.py draws, their file, and the limits beside them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from fasthash._files import replace_file

DATA = "loss_scaling.csv"
PAIRWISE, JOINT = "pairwise_nll", "joint_semantics_loss"
OURS, CHUNKED, EAGER = "fasthash", "torch, in blocks", "torch eager"
RATE = "matrix product"  # the row of the machine's float32 rate: seconds of a 2,048 x 2,048 x 2,048 product
BITS = 64
P_IMAGE = P_TEXT = 1024  # widths of the features of joint semantics
MEASURED, NO_ROOM, TOO_LONG = "measured", "does not fit", "takes too long"


@dataclass(frozen=True)
class Row:
    """One size of one contestant: loss and gradients once. What was not run is what its smaller sizes foretell."""

    op: str
    contestant: str
    n: int
    status: str
    seconds: float  # median of the calls
    low: float  # quickest call
    high: float
    memory: float  # most bytes held during a call, beyond its inputs


def flops(op: str, n: int) -> float:
    """Of the products that no form of the loss and its gradients can do without."""
    if op == PAIRWISE:
        return 3 * 2.0 * n * n * BITS  # theta and both gradients
    p = P_IMAGE + P_TEXT
    by_features = 16.0 * n * p * BITS  # features^T times codes and back, twice for the second order, for both codes
    by_affinity = 2.0 * n * n * p + 8.0 * n * n * BITS  # the affinity first: less work while n is small
    return min(by_features, by_affinity)


def least_seconds(op: str, n: int, rows: Sequence[Row]) -> float | None:
    """The products at the rate that was measured; None where it was not."""
    seconds = [row.seconds for row in rows if row.contestant == RATE]
    return flops(op, n) * seconds[0] / (2.0 * 2048**3) if seconds else None


def least_memory(n: int) -> float:
    """Bytes of both gradients, of n rows each."""
    return 4.0 * BITS * 2 * n


def save(path: Path, rows: Sequence[Row]) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
            writer.writeheader()
            for row in rows:
                kept = {name: f"{x:.4g}" if isinstance(x, float) else x for name, x in asdict(row).items()}
                writer.writerow(kept)

    replace_file(path, write)


def load(path: Path) -> list[Row]:
    """The rows of a file that `save` wrote."""
    with path.open(newline="") as file:
        return [
            Row(line["op"], line["contestant"], int(line["n"]), line["status"], *map(float, list(line.values())[4:]))
            for line in csv.DictReader(file)
        ]
