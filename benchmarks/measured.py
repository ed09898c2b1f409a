"""What a run of a topic found: the samples, from which pages and pictures are made. Kept as JSON beside the page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from goals import Goal, Reached
from interleave import Timing, timing

from fasthash._files import replace_file

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Measured:
    """One case, timed."""

    name: str
    baseline: str
    work: float
    seconds: dict[str, list[float]]  # contestant -> one call, by round
    memory: dict[str, int] = field(default_factory=dict)  # contestant -> peak bytes of a call, where measured
    goals: tuple[Goal, ...] = ()

    @property
    def timings(self) -> dict[str, Timing]:
        return {name: timing(self.seconds[self.baseline], own) for name, own in self.seconds.items()}

    def reached(self) -> Iterator[tuple[str, Goal, Reached]]:
        """(case, goal, what was reached) of each goal whose contestants are both here."""
        for goal in self.goals:
            if {goal.contestant, goal.against} <= self.seconds.keys():
                yield self.name, goal, goal.reached(self.seconds)


def save(path: Path, machine: Sequence[str], measured: Sequence[Measured]) -> None:
    """Write the samples, to four digits, with the lines that say where they come from."""
    cases = [asdict(entry) for entry in measured]
    for case in cases:
        case["seconds"] = {name: [float(f"{s:.4g}") for s in samples] for name, samples in case["seconds"].items()}
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    text = f'{{"machine": {json.dumps(list(machine), ensure_ascii=False)},\n"cases": [\n{lines}\n]}}\n'
    replace_file(path, lambda temporary: temporary.write_text(text))


def load(path: Path) -> list[Measured]:
    """The cases of a file that `save` wrote."""
    cases = json.loads(path.read_text())["cases"]
    return [Measured(**{**case, "goals": tuple(Goal(**goal) for goal in case["goals"])}) for case in cases]
