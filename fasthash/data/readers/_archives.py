"""Pictures that a table names and that lie in one .zip or .tar."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fasthash.data.readers._columns import PictureMembers
from fasthash.features._tar import scan

ARCHIVES = (".zip", ".tar")


def in_archive(path: Path, names: Sequence[str], op: str) -> PictureMembers:
    """Pictures by the names of a table; a name that is no member itself may be one below the archive's folders.

    Raises:
        ValueError: no archive, damaged, or several members end in a name.
    """
    if path.suffix.lower() not in ARCHIVES:
        raise ValueError(f"{op}: pictures must be a folder, or an archive {', '.join(ARCHIVES)}, got {path}")
    addresses = _addresses(path, op)
    wanted = {name.rpartition("/")[2] for name in names if name}
    below: dict[str, list[str]] = {}
    for member in addresses:
        if (last := member.rpartition("/")[2]) in wanted:
            below.setdefault(last, []).append(member)
    members = []
    for name in names:
        found = [name] if name in addresses else _ends(below.get(name.rpartition("/")[2], []), name)
        if len(found) > 1:
            raise ValueError(f"{op}: {path} has several pictures {name}, such as {found[0]} and {found[1]}")
        members.append(addresses[found[0]] if found else name)  # a name without a member is missing, and said to be
    return PictureMembers([path], np.zeros(len(names), np.int32), members)


def _ends(members: Sequence[str], name: str) -> list[str]:
    return [member for member in members if member.endswith(f"/{name}")]


def _addresses(path: Path, op: str) -> dict[str, str]:
    """Name of every member -> what `Picture.member` takes."""
    if path.suffix.lower() == ".tar":
        return {member.name: member.address for member in scan(path)}
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: name for name in archive.namelist()}
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{op}: {path} is damaged: {error}") from None
