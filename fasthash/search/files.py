"""Opening and writing index files of any kind that is known here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from fasthash.search import faiss_file, multi_storage, npy, storage
from fasthash.search.index import BinaryIndex
from fasthash.search.multi_index import MultiIndex
from fasthash.search.shards import Shards, open_shards
from fasthash.search.snapshot import Snapshot, adopted, check_ids, sorted_by_id


def load(path: str | os.PathLike[str], mmap: bool = True, verify: bool | None = None) -> BinaryIndex | Shards:
    """An index written by its ``save``, or by FAISS: the file's first bytes tell (``read_faiss``).

    What a ``MultiIndex`` wrote becomes one again, its tables included, a folder that ``write_shards`` made ``Shards``;
    anything else a ``BinaryIndex``.

    Args:
        path: the file, or the folder of shards.
        mmap: map the file and search it in place, read-only: it may be larger than memory, and opening it reads the
            header, the ids (8 bytes a code; none while the ids are 0, 1, 2, ...) and where the buckets of tables begin
            (4 x 2^w bytes a table, see ``MultiIndex``) alone. The codes are then trusted:
            padding bits that are not zero would count in the distances. False: read it into memory; it can then be
            changed.
        verify: read everything once and check checksum and padding bits (files of FAISS have neither). None: only with
            mmap=False. Whether the ids ascend is always checked.
    Raises:
        FileNotFoundError: no such file, or one of a folder's is missing.
        ValueError: not an index file, truncated, damaged, or of a newer version; one line says which.
    """
    path = Path(path)
    if path.is_dir():
        return open_shards(path, mmap, verify)
    if faiss_file.is_faiss(head := _head(path)):
        return _stored(faiss_file.read(path, mmap=mmap, op="load"), mmap)
    if head.startswith(npy.MAGIC):
        raise ValueError(f"load: {path} is a bare array (.npy); open it with fasthash.search.from_npy(path, bits)")
    stored, tables = multi_storage.read(path, mmap=mmap, verify=not mmap if verify is None else verify)
    if tables is None:
        return _stored(stored, mmap)
    return MultiIndex._with_tables(stored.bits, *_rows(stored, mmap), *tables)


def read_faiss(path: str | os.PathLike[str], mmap: bool = True) -> BinaryIndex:
    """The index in a file of FAISS, which need not be installed: IndexBinaryFlat, or an id map over one.

    The distances are those of FAISS whatever the order of the bits; codes and ids are those of the file, by ascending
    id. FAISS takes any ids in any order; here each must be at least 0 and there once.

    Args:
        path: what ``faiss.write_index_binary`` wrote of an IndexBinaryFlat, IndexBinaryIDMap or IndexBinaryIDMap2.
        mmap: map the codes and search them in place, read-only; ids are read into memory (8 bytes a code) and must
            ascend. False: read everything into memory, sorted by id; the index can then be changed.
    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, truncated, damaged, of more than 4096 bits; an id that is negative or there twice;
            with mmap, ids that do not ascend.
    """
    return _stored(faiss_file.read(path, mmap=mmap, op="read_faiss"), mmap)


def write_faiss(index: BinaryIndex, path: str | os.PathLike[str], reverse: bool = False) -> None:
    """Write an index for FAISS, whole or not at all: ``faiss.read_index_binary`` reads it.

    While the ids are 0, 1, 2, ... it is an IndexBinaryFlat, otherwise one inside an IndexBinaryIDMap.

    Args:
        index: its code length must be a multiple of 8.
        path: the file.
        reverse: make the id map an IndexBinaryIDMap2, which also finds codes by id (``reconstruct``) and takes more
            memory in FAISS.
    Raises:
        TypeError: index is no BinaryIndex.
        ValueError: a code length that is no multiple of 8.
        OSError: as from the file system; an older file at ``path`` is then untouched.
    """
    if not isinstance(index, BinaryIndex):
        raise TypeError(f"write_faiss: index must be a BinaryIndex, got {type(index).__name__}")
    rows = index._rows
    plain = rows.next_id() == rows.size  # ascending ids, the largest of them count - 1
    faiss_file.write(path, index.bits, rows.codes, None if plain else rows.ids, reverse)


def from_npy(
    path: str | os.PathLike[str],
    bits: int | None = None,
    ids: Any = None,
    mmap: bool = True,
    verify: bool | None = None,
) -> BinaryIndex:
    """An index over packed codes in a ``.npy`` file.

    Args:
        path: a file that ``np.save`` wrote of uint8 [n, ceil(bits / 8)].
        bits: code length; 8 x bytes when left out.
        ids: int64 [n], >= 0, no two alike, with mmap ascending; None: row i has id i.
        mmap: map the file and search it in place, read-only. False: read it into memory; the index can then be changed.
        verify: check the padding bits, where there are any: reads everything once. None: only with mmap=False.
    Raises:
        FileNotFoundError: no such file.
        ValueError: no ``.npy`` file, truncated, of another dtype, shape or order; ids that do not belong to it; a
            non-zero padding bit.
    """
    op = "from_npy"
    codes = npy.read(path, mmap=mmap, op=op)
    checked = not mmap if verify is None else verify
    if mmap:
        length, rows = adopted(codes, bits, ids, checked, op)
        return BinaryIndex._of(length, rows, "mapped")
    length, rows = adopted(codes, bits, None, checked, op)
    if ids is not None:
        given = check_ids(ids, op, len(codes), "codes")
        rows = Snapshot(*sorted_by_id(rows.codes, np.array(given), op), len(given))
    return BinaryIndex._of(length, rows, "own")


def _head(path: Path) -> bytes:
    """The first bytes of a file; none where there is no file, which whoever opens it reports."""
    if not path.is_file():
        return b""
    with open(path, "rb") as file:
        return file.read(8)


def _stored(stored: storage.Stored, mmap: bool) -> BinaryIndex:
    return BinaryIndex._of(stored.bits, *_rows(stored, mmap))


def _rows(stored: storage.Stored, mmap: bool) -> tuple[Snapshot, str]:
    """The rows, and whose memory they are in."""
    return Snapshot(stored.codes, stored.ids, len(stored.codes), stored.first), "mapped" if mmap else "own"
