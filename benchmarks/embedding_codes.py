"""What short codes keep of a float search: learned ones, rotations and ITQ of ready-made embeddings.

python benchmarks/embedding_codes.py                      -> results/embeddings_to_codes.md and .json
python benchmarks/embedding_codes.py --quick --out FOLDER     one seed, one epoch, one data set: shows that it works
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import embedding_sets
import machine
import numpy as np
import torch
from embedding_page import page
from measured import RESULTS
from numpy.typing import NDArray

import fasthash
from fasthash import metrics, search
from fasthash._files import replace_file
from fasthash.baselines import ITQ, EmbeddingHash, RandomRotation, rank_by_cosine
from fasthash.codes import pack
from fasthash.data import PairedDataset
from fasthash.methods import get, resolve_options
from fasthash.models.joint_space import JointSpace

NAME = "embeddings_to_codes"
DATA = ("movie_posters", "fashion_products")
K, HITS = 10, 100  # of the float search that are to be found; codes that are looked at again
SEEDS = 3
SIDES = {"i2i": ("image", "image"), "t2t": ("text", "text"), "i2t": ("image", "text"), "t2i": ("text", "image")}
SIGNED_BITS = (64, 128, 256, 512)
Floats = NDArray[np.floating[Any]]
Relaxed = dict[str, dict[str, Floats]]  # direction -> query, database: codes before their sign


@dataclass(frozen=True)
class Learner:
    """A method of fasthash, and the directions that its options train it for."""

    method: str
    bits: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    directions: tuple[str, ...] = tuple(SIDES)


LEARNERS = {
    "float_neighbours": Learner("float_neighbours", (32, 64, 128)),
    "float_neighbours, across=0": Learner("float_neighbours", (64,), {"across": 0.0}, ("i2i", "t2t")),
    "float_neighbours, within=0": Learner("float_neighbours", (64,), {"within": 0.0}, ("i2t", "t2i")),
    "djsrh": Learner("djsrh", (64,)),
}


@dataclass(frozen=True)
class Row:
    """One method at one code length on one data set; each list has a value for each seed."""

    data: str
    method: str
    bits: int
    hamming: dict[str, list[float]]  # recall@K by direction it was made for, of plain Hamming ranking
    rescored: dict[str, list[float]]  # of the HITS first, by the query before its sign
    reranked: dict[str, list[float]]  # of the HITS first, by the floats themselves
    map: dict[str, list[float]]  # by labels, of plain Hamming ranking


class Truth:
    """A data set with the float search that codes are measured against.

    Within a modality, cosines of the embeddings; across, in the space that the method's own preset asks for, fitted on
    the training pairs alone.
    """

    def __init__(self, data: PairedDataset) -> None:
        self.data = data
        o: Any = resolve_options(get("float_neighbours"), data.base_name, {})
        tensors = {side: torch.from_numpy(np.asarray(getattr(data, side))) for side in ("image", "text")}
        train = torch.from_numpy(data.split.train)
        space = JointSpace.fit([(tensors["image"][train], tensors["text"][train])], ridge=o.ridge)
        joint = {"image": space.image(tensors["image"]), "text": space.text(tensors["text"])}
        self.own = {side: _unit(x.numpy()) for side, x in tensors.items()}
        self.joint = {side: _unit(x.numpy()) for side, x in joint.items()}
        self.nearest = {direction: self._nearest(direction) for direction in SIDES}

    def vectors(self, direction: str) -> tuple[Floats, Floats]:
        """Unit rows (queries, database) whose cosines the float search of a direction goes by."""
        first, second = SIDES[direction]
        given = self.own if first == second else self.joint
        return given[first][self.data.split.query], given[second][self.data.split.database]

    def _nearest(self, direction: str) -> NDArray[np.int64]:
        """int64 [nq, K], equal cosines by place in the database."""
        query, database = self.vectors(direction)
        return np.argsort(-(query @ database.T), axis=1, kind="stable")[:, :K]

    def labels(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        assert self.data.labels is not None
        return self.data.labels[self.data.split.query], self.data.labels[self.data.split.database]


def _unit(x: Floats) -> Floats:
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.maximum(norm, 1e-12))


def expected_recall(
    query: NDArray[np.uint8], database: NDArray[np.uint8], truth: NDArray[np.int64], bits: int
) -> float:
    """Share of the true neighbours among the first K by Hamming distance, in expectation over the order of ties."""
    distances, _ = search.knn(query, database, K, bits=bits)
    counts = search.histogram(query, database, bits=bits).counts
    last = distances[:, -1:].astype(np.int64)  # distance of the K-th hit: of those at it, not all are among the first K
    nearer = np.take_along_axis(np.cumsum(counts, axis=1) - counts, last, 1)
    equal = np.take_along_axis(counts, last, 1)
    own = np.unpackbits(query[:, None] ^ database[truth], axis=2).sum(axis=2, dtype=np.int64)
    found = np.where(own < last, 1.0, np.where(own == last, (K - nearer) / equal, 0.0))
    return float(found.sum(axis=1).mean() / truth.shape[1])


def recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Share of the true neighbours among ids [nq, m]."""
    return float((truth[:, :, None] == found[:, None, :]).any(axis=2).mean())


def measure(truth: Truth, relaxed: Relaxed, bits: int) -> dict[str, dict[str, float]]:
    """The four measures of `Row` by direction."""
    made: dict[str, dict[str, float]] = {"hamming": {}, "rescored": {}, "reranked": {}, "map": {}}
    for direction, h in relaxed.items():
        query, database, near = pack(h["query"]), pack(h["database"]), truth.nearest[direction]
        _, hits = search.knn(query, database, min(HITS, len(database)), bits=bits)
        _, best = search.rescore(h["query"], database, hits, K, bits=bits)
        made["hamming"][direction] = expected_recall(query, database, near, bits)
        made["rescored"][direction] = recall(best, near)
        made["reranked"][direction] = recall(hits, near)  # the floats put the true ones among them first
        made["map"][direction] = metrics.evaluate(query, database, *truth.labels(), bits=bits).value
    return made


def _parts(truth: Truth, project: dict[str, Floats], directions: tuple[str, ...]) -> Relaxed:
    split = truth.data.split
    return {
        d: {"query": project[SIDES[d][0]][split.query], "database": project[SIDES[d][1]][split.database]}
        for d in directions
    }


def signed(truth: Truth, fit: Callable[[Any], EmbeddingHash], narrowest: int = 0) -> Relaxed:
    """Codes for each space by itself: image codes, text codes, and codes of both in the joint space.

    Args:
        narrowest: embeddings with fewer numbers are left out.
    """
    train, made = truth.data.split.train, {}
    for side, direction in (("image", "i2i"), ("text", "t2t")):
        x = truth.own[side]
        if x.shape[1] >= narrowest:
            made |= _parts(truth, {side: fit([x[train]]).project(x)}, (direction,))
    if truth.joint["image"].shape[1] >= narrowest:
        both = fit([x[train] for x in truth.joint.values()])
        made |= _parts(truth, {side: both.project(x) for side, x in truth.joint.items()}, ("i2t", "t2i"))
    return made


def learned(truth: Truth, learner: Learner, bits: int, seed: int, options: dict[str, Any]) -> Relaxed:
    """One image code and one text code for all directions."""
    data = truth.data
    options = learner.options | options
    run = fasthash.train(learner.method, data, bits=bits, seed=seed, progress=False, eval_every=10**6, **options)
    relaxed = {"image": run.model.relax_image(data.image), "text": run.model.relax_text(data.text)}
    return _parts(truth, relaxed, learner.directions)


def contestants(truth: Truth, quick: bool) -> Iterator[tuple[str, int, Callable[[int], Relaxed]]]:
    """(method, bits, seed -> relaxed codes)."""
    short: dict[str, Any] = {"epochs": 1} if quick else {}
    for title, learner in LEARNERS.items():
        for bits in learner.bits[:1] if quick else learner.bits:
            yield title, bits, lambda seed, one=learner, b=bits: learned(truth, one, b, seed, short)
    for bits in SIGNED_BITS[:1] if quick else SIGNED_BITS:
        yield (
            "random rotation",
            bits,
            lambda seed, b=bits: signed(truth, lambda x: RandomRotation(seed).fit(np.concatenate(x), b)),
        )
        yield "ITQ", bits, lambda seed, b=bits: signed(truth, lambda x: ITQ(seed=seed).fit(x, b), narrowest=b)


def rows_of(truth: Truth, seeds: Sequence[int], quick: bool) -> Iterator[Row]:
    name = truth.data.name
    for method, bits, make in contestants(truth, quick):
        started = time.monotonic()
        found = [measure(truth, make(seed), bits) for seed in seeds]
        yield Row(
            name, method, bits, *({d: [one[kind][d] for one in found] for d in found[0][kind]} for kind in found[0])
        )
        print(f"{name}: {method} {bits} bits, {time.monotonic() - started:.0f} s", flush=True)


def float_map(truth: Truth) -> dict[str, float]:
    """mAP of the float search itself, by direction."""
    return {d: float(rank_by_cosine(*truth.vectors(d), *truth.labels()).map_all.mean()) for d in SIDES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", nargs="+", choices=DATA, default=DATA)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds 0, 1, ... of what is random")
    given = parser.parse_args()
    if given.seeds < 1:
        parser.error(f"--seeds must be 1 or more, got {given.seeds}")
    if given.quick and given.out.resolve() == RESULTS.resolve():
        parser.error("benchmarks/results is for measurements: give --quick another folder with --out")
    given.out.mkdir(parents=True, exist_ok=True)
    sets, rows = [], []
    for name in given.data[:1] if given.quick else given.data:
        truth = Truth(embedding_sets.load(name))
        rows += list(rows_of(truth, range(1 if given.quick else given.seeds), given.quick))
        widths = {side: x.shape[1] for side, x in truth.own.items()} | {"joint": truth.joint["image"].shape[1]}
        sizes = {part: len(getattr(truth.data.split, part)) for part in ("query", "database", "train")}
        sets.append({"data": name, "sizes": sizes, "widths": widths, "map": float_map(truth)})
    about = machine.described(("numpy", "torch", "sentence-transformers"))
    text = page(sets, [asdict(row) for row in rows], about)
    result = {
        "about": about,
        "k": K,
        "hits": HITS,
        "seeds": given.seeds,
        "sets": sets,
        "rows": [asdict(row) for row in rows],
    }
    replace_file(given.out / f"{NAME}.json", lambda path: path.write_text(json.dumps(result, indent=1) + "\n"))
    replace_file(given.out / f"{NAME}.md", lambda path: path.write_text(text))


if __name__ == "__main__":
    main()
