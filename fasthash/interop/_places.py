"""The places codes can be in, and how their addresses look."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fasthash.codes import packed_width
from fasthash.features._progress import Progress
from fasthash.interop import _place_moves as moves
from fasthash.interop._codes import Codes
from fasthash.search import BinaryIndex

SHARDS = "shards.json"


@dataclass(frozen=True)
class Place:
    """A kind of place."""

    name: str
    form: str  # of its addresses
    matches: Callable[[str], bool]
    read: Callable[[str, int | None], Codes]
    write: Callable[[Codes, str, str | None, bool, Progress], None] | None = None
    kinds: tuple[str, ...] = ()
    exists: Callable[[str], bool] = os.path.exists
    own: bool = False  # of this library


def scheme(where: str) -> str:
    """What stands before a colon, of an address that is no path; "" for a path."""
    head, colon, _ = where.partition(":")
    return head if colon and len(head) > 1 and head.isalnum() and not os.path.exists(where) else ""


def run_index(address: str | os.PathLike[str], side: str) -> str:
    """The index file of one side where the address is a run or its index; the address itself otherwise."""
    where = os.fspath(address)
    for folder in (Path(where), Path(where, "index")):
        file = folder / f"{side}s.safetensors"
        if (folder / "items.json").is_file() and file.is_file():
            return str(file)
    return where


def padded(codes: Codes) -> BinaryIndex:
    """The same rows as codes of whole bytes."""
    index = moves.in_memory(codes, "pad")
    return BinaryIndex._of(8 * packed_width(index.bits), index._rows.trimmed(), "borrowed")


def _suffix(*endings: str) -> Callable[[str], bool]:
    return lambda where: not scheme(where) and not os.path.isdir(where) and where.lower().endswith(endings)


def _is_lance(where: str) -> bool:
    return scheme(where) == "lance"


def _is_postgres(where: str) -> bool:
    return scheme(where) in ("postgresql", "postgres")


def _is_parquet(where: str) -> bool:
    if os.path.isdir(where):
        return not _has_shards(where) and next(Path(where).rglob("*.parquet"), None) is not None
    return _suffix(".parquet")(where)


def _is_index(where: str) -> bool:
    """Also a file of any other name: its first bytes tell."""
    return _suffix(".safetensors")(where) or os.path.isfile(where)


def _is_shards(where: str) -> bool:
    folder = os.path.isdir(where) or where.endswith(os.sep) or not Path(where).suffix
    return not scheme(where) and folder and not os.path.isfile(where)


def _has_shards(where: str) -> bool:
    return Path(where, SHARDS).exists()


def _never(where: str) -> bool:
    """For places that look by themselves."""
    return False


_FLAT_HNSW_IVF = ("flat", "hnsw", "ivf")
PLACES = (  # the first that matches
    Place("LanceDB", "lance:FOLDER#TABLE", _is_lance, moves.read_lance, moves.write_lance, ("flat", "ivf"), _never),
    Place(
        "PostgreSQL", "postgresql://...#TABLE", _is_postgres, moves.read_postgres, moves.write_postgres,
        _FLAT_HNSW_IVF, _never,
    ),
    Place("FAISS", "FILE.faiss", _suffix(".faiss"), moves.read_faiss, moves.write_faiss, _FLAT_HNSW_IVF),
    Place("USearch", "FILE.usearch", _suffix(".usearch"), moves.read_usearch, moves.write_usearch),
    Place("Parquet", "FILE.parquet", _is_parquet, moves.read_parquet, moves.write_parquet),
    Place("array", "FILE.npy", _suffix(".npy"), moves.read_npy),
    Place("index file", "FILE.safetensors", _is_index, moves.read_own, moves.write_own, own=True),
    Place("shards", "FOLDER", _is_shards, moves.read_own, moves.write_shards, exists=_has_shards, own=True),
)  # fmt: skip
