"""How codes come out of each kind of place, and go in: (address, bits) -> codes, (codes, address, kind, ...)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from fasthash import search
from fasthash._files import replace_file
from fasthash.features._packages import require
from fasthash.features._progress import Progress
from fasthash.interop._codes import BATCH, Codes, gathered, to_index, width_to_bits
from fasthash.search import BinaryIndex, faiss_file

_ID_MAP_HEADER = 25  # bytes before the index within an id map of FAISS
_SECRETS = ("password", "sslpassword", "oauth_client_secret")  # parameters of a URI of PostgreSQL


def in_memory(codes: Codes, op: str) -> BinaryIndex:
    """An index of a stream; an index itself."""
    return codes if isinstance(codes, BinaryIndex) else gathered(codes.batches(BATCH), codes.bits, op)


def table_of(where: str) -> tuple[str, str]:
    """The database and the table of ``DATABASE#TABLE``; ValueError when there is no table."""
    database, _, table = where.rpartition("#")
    if not (table and database):
        raise ValueError(f"address must end in #TABLE, got {shown(where)!r}")
    return database, table


def shown(where: str) -> str:
    """An address without its passwords."""
    head, slashes, rest = where.partition("://")
    if slashes:
        rest, mark, table = rest.rpartition("#") if "#" in rest else (rest, "", "")
        # before the user's part: a password in a parameter may have an @
        rest = re.sub(r"([?&])([^=&?]*)=([^&]*)", _without_secret, rest) + mark + table
    user, at, host = rest.rpartition("@")
    name, colon, _ = user.partition(":")
    return f"{head}://{name}:***@{host}" if slashes and at and colon else head + slashes + rest


def _without_secret(parameter: re.Match[str]) -> str:
    before, name, _ = parameter.groups()
    return f"{before}{name}=***" if unquote(name) in _SECRETS else parameter[0]


def read_own(where: str, bits: int | None) -> Codes:
    """An index file, mapped, or a folder of shards."""
    return search.load(where)


def write_own(codes: Codes, where: str, kind: str | None, overwrite: bool, progress: Progress) -> None:
    """An index file."""
    in_memory(codes, "save").save(where)


def write_shards(codes: Codes, where: str, kind: str | None, overwrite: bool, progress: Progress) -> None:
    """A folder of shards."""
    rows = codes.batches(BATCH)
    search.write_shards(where, rows, codes.bits, overwrite=overwrite, count=len(codes), progress=progress)


def read_npy(where: str, bits: int | None) -> Codes:
    """Packed codes without ids."""
    return search.from_npy(where, bits)


def read_faiss(where: str, bits: int | None) -> Codes:
    """A file of FAISS: of its exact indexes without, of others with the package."""
    head = b""
    if os.path.isfile(where):
        with open(where, "rb") as file:
            head = file.read(_ID_MAP_HEADER + 4)
    inner = head[_ID_MAP_HEADER:] if head[:4] in (b"IBMp", b"IBM2") else head[:4]
    if inner == b"IBxF" or not faiss_file.is_faiss(inner):  # what is damaged is named by this library's own reader
        found = search.read_faiss(where, mmap=False)
        if bits is None:
            return found
        return to_index(found.codes, found.ids, width_to_bits(found.bits // 8, bits, "read_faiss"), "read_faiss")
    from fasthash.interop.faiss import from_faiss

    faiss = require("faiss", "faiss-cpu", "faiss", where)
    try:
        live = faiss.read_index_binary(where)
    except RuntimeError as error:
        raise ValueError(f"{where} is no sound file of FAISS: {error}") from None
    return from_faiss(live, bits)


def write_faiss(codes: Codes, where: str, kind: str | None, overwrite: bool, progress: Progress) -> None:
    """A file of FAISS; of codes of whole bytes."""
    if kind in (None, "flat"):
        return search.write_faiss(in_memory(codes, "write_faiss"), where)
    from fasthash.interop.faiss import to_faiss

    live = to_faiss(codes, kind, progress=progress)
    faiss = require("faiss", "faiss-cpu", "faiss", where)
    _put(where, lambda path: faiss.write_index_binary(live, path))


def _put(where: str, save: Callable[[str], object]) -> None:
    """A file that another library writes; OSError where it fails, as when the disk is full."""
    try:
        replace_file(where, lambda path: save(str(path)))
    except RuntimeError as error:
        raise OSError(f"cannot write {where}: {' '.join(str(error).split())}") from None


def read_usearch(where: str, bits: int | None) -> Codes:
    """A file of USearch."""
    from fasthash.interop.usearch import from_usearch

    usearch: Any = require("usearch.index", "usearch", "usearch", where)
    if not os.path.isfile(where):
        raise FileNotFoundError(f"no file at {where}")
    try:
        live = usearch.Index.restore(where, view=True)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{where} is no sound file of USearch: {error}") from None
    return from_usearch(live)


def write_usearch(codes: Codes, where: str, kind: str | None, overwrite: bool, progress: Progress) -> None:
    """A file of USearch."""
    from fasthash.interop.usearch import to_usearch

    live = to_usearch(codes, progress=progress)
    _put(where, live.save)


def read_parquet(where: str, bits: int | None) -> Codes:
    """A Parquet file or a folder of them, as a stream."""
    from fasthash.interop.arrow import parquet_batches

    return parquet_batches(where, bits)


def write_parquet(codes: Codes, where: str, kind: str | None, overwrite: bool, progress: Progress) -> None:
    """A Parquet file."""
    from fasthash.interop import arrow

    arrow.write_parquet(codes, where, progress=progress)


def read_lance(where: str, bits: int | None) -> Codes:
    """A table of LanceDB."""
    from fasthash.interop import lance

    return lance.read_lance(*table_of(where.removeprefix("lance:")), bits)


def write_lance(codes: Codes, where: str, kind: str | None, overwrite: bool, progress: Progress) -> None:
    """A table of LanceDB; "ivf" with about sqrt(n) partitions."""
    from fasthash.interop import lance

    folder, table = table_of(where.removeprefix("lance:"))
    mode, partitions = "overwrite" if overwrite else "create", None
    if kind == "ivf":
        partitions = max(1, int(len(codes) ** 0.5))
    lance.write_lance(codes, folder, table, mode=mode, partitions=partitions, progress=progress)


def read_postgres(where: str, bits: int | None) -> Codes:
    """A table of PostgreSQL, as a stream."""
    from fasthash.interop import postgres

    return postgres.table_codes(*table_of(where), bits)


def write_postgres(codes: Codes, where: str, kind: str | None, overwrite: bool, progress: Progress) -> None:
    """A table of PostgreSQL; "hnsw" and "ivf" with an index of pgvector."""
    from fasthash.interop import postgres

    uri, table = table_of(where)
    mode = "overwrite" if overwrite else "create"
    index = postgres.HNSW() if kind == "hnsw" else postgres.IVFFlat() if kind == "ivf" else None
    postgres.write(codes, uri, table, mode=mode, approximate=index, progress=progress)
