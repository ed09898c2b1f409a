"""What a user names as a corpus -> its files, in a stable order."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from fasthash.data.readers._columns import SUFFIXES
from fasthash.distributed.encoding import _parquet
from fasthash.distributed.encoding._cells import FEATURES, PICTURES
from fasthash.distributed.encoding._pictures import picture_corpus
from fasthash.distributed.encoding._sources import Corpus, check_text
from fasthash.distributed.encoding._tars import tar_corpus

KINDS = {"parquet": _parquet.SUFFIXES, "webdataset": (".tar",), "pictures": SUFFIXES}


def list_corpus(
    dataset: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    kind: str | None,
    side: str,
    takes: Sequence[str],
    width: int,
    column: str | None,
    id_column: str | None,
) -> Corpus:
    """The corpus at a path or several: Parquet files, webdataset shards, or a folder of pictures.

    Files are sorted by their paths, hidden ones left out; rows are numbered in this order.

    Args:
        kind: a name of `KINDS`; None: by what is there.
        takes: what the model encodes of this side; width: of its features.
    Raises:
        FileNotFoundError, ValueError: one line.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"encode: kind must be one of {', '.join(KINDS)}, got {kind!r}")
    places = [dataset] if isinstance(dataset, (str, os.PathLike)) else list(dataset)
    if not places:
        raise ValueError("encode: dataset must name a file or a folder, got an empty list")
    roots = [Path(place).expanduser() for place in places]
    found = _below(roots, {kind: KINDS[kind]} if kind else KINDS)
    chosen = next((name for name, files in found.items() if files), None)
    said = ", ".join(map(str, places))
    if chosen is None:
        looked = [suffix for name in found for suffix in KINDS[name][:3]]
        raise FileNotFoundError(f"encode: nothing to encode: {said} has no files {', '.join(looked)}")
    files = found[chosen]
    _check_files(files, roots, chosen)
    if chosen == "parquet":
        return _parquet.parquet_corpus(
            said, [root / name for root, name in files], [name or root.name for root, name in files],
            side=side, takes=takes, width=width, column=column, id_column=id_column,
        )  # fmt: skip
    if id_column is not None:
        raise ValueError(f"encode: id_column is for columns of Parquet files and datasets; {said} has {chosen}")
    raw = [what for what in takes if what != FEATURES]
    if not raw or (chosen == "pictures" and raw != [PICTURES]):
        holds = "pictures" if chosen == "pictures" else "raw pictures or texts"
        raise ValueError(f"encode: {said} has {holds}, this model takes {' or '.join(takes)} as its {side} side")
    if chosen == "webdataset":
        paths = [root / name for root, name in files]
        return tar_corpus(said, paths, [name or root.name for root, name in files], raw[0], column)
    if column is not None:
        raise ValueError(f"encode: column is for Parquet files, shards and datasets; {said} is a folder of pictures")
    if len(roots) > 1 or not roots[0].is_dir():
        raise ValueError(f"encode: pictures must lie in one folder, got {said}")
    return picture_corpus(roots[0], [name for _, name in files])


def _below(roots: Sequence[Path], kinds: Mapping[str, tuple[str, ...]]) -> dict[str, list[tuple[Path, str]]]:
    """(root, path within it) of all files of each kind; "" where the root itself is the file."""
    by_suffix = {suffix: name for name, suffixes in kinds.items() for suffix in suffixes}
    found: dict[str, list[tuple[Path, str]]] = {name: [] for name in kinds}
    for root in roots:
        if root.is_file():
            if root.suffix.lower() in by_suffix:
                found[by_suffix[root.suffix.lower()]].append((root, ""))
        elif root.is_dir():
            for name in _walk(root, "", by_suffix, frozenset()):
                found[by_suffix[os.path.splitext(name)[1].lower()]].append((root, name))
        else:
            raise FileNotFoundError(f"encode: no such file or folder: {root}")
    for files in found.values():
        files.sort(key=lambda at: (at[0].as_posix() if len(roots) > 1 else "", at[1]))
    return found


def _walk(folder: Path, within: str, suffixes: Collection[str], above: frozenset[tuple[int, int]]) -> Iterator[str]:
    status = os.stat(folder / within)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return  # a link to a folder that it lies in
    with os.scandir(folder / within) as entries:
        for entry in entries:
            name = f"{within}{entry.name}"
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _walk(folder, f"{name}/", suffixes, above | {here})
            elif os.path.splitext(entry.name)[1].lower() in suffixes:
                yield name


def _check_files(files: Sequence[tuple[Path, str]], roots: Sequence[Path], chosen: str) -> None:
    """ValueError: a name that is no text; of several roots one that adds nothing, or one that lies within another."""
    for root, name in files:
        check_text(name, root)
    used = {root for root, _ in files}
    for root in roots:
        if root not in used:
            raise ValueError(f"encode: one call encodes files of one kind: {root} has no {chosen} files")
    resolved = sorted(root.resolve() for root in roots)  # what lies within a folder follows it at once
    for outer, inner in pairwise(resolved):
        if outer == inner or outer in inner.parents:
            raise ValueError(f"encode: {inner} is given twice, with {outer}")
