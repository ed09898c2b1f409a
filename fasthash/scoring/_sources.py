"""Which file holds what: queries and database, of one direction or of both, and their labels."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from fasthash.features.array_files import names
from fasthash.scoring._forms import OP

CODES = {
    "query": "codes of the queries",
    "database": "codes of the database",
    "query_image": "codes of the queries' images",
    "query_text": "codes of the queries' texts",
    "database_image": "codes of the database's images",
    "database_text": "codes of the database's texts",
    "image": "codes of all images of a data set, in its order",
    "text": "codes of all texts of a data set, in its order",
}
LABELS = {"query_labels": "labels of the queries", "database_labels": "labels of the database"}
ROLES = CODES | LABELS
# direction -> (queries, database); "one" where nothing is said of images and texts
PAIRS = {
    "one": ("query", "database"),
    "i2t": ("query_image", "database_text"),
    "t2i": ("query_text", "database_image"),
}
# names under which published code saves the same things
_OTHER_NAMES = {
    "query_image": ("q_img", "qBX", "qu_BI"),
    "query_text": ("q_txt", "qBY", "qu_BT"),
    "database_image": ("r_img", "rBX", "re_BI"),
    "database_text": ("r_txt", "rBY", "re_BT"),
    "query_labels": ("q_l", "queryL", "query_L", "qu_L"),
    "database_labels": ("r_l", "retrievalL", "retrieval_L", "re_L"),
}


def of_archive(path: str | os.PathLike[str]) -> dict[str, str]:
    """What the arrays of one file are, by their names: role -> FILE:NAME. A .npy is the queries' codes.

    Raises:
        ValueError: no array has a known name, or two stand for the same.
        FileNotFoundError, ValueError: as in reading.
    """
    held = names(path, f"{OP}: codes")
    if not held:
        return {"query": os.fspath(path)}
    found: dict[str, str] = {}
    for role in ROLES:
        fits = [name for name in (role, *_OTHER_NAMES.get(role, ())) if name in held]
        if len(fits) > 1:
            raise ValueError(f"{OP}: codes: {path} holds both {fits[0]} and {fits[1]}, which mean the same")
        if fits:
            found[role] = f"{os.fspath(path)}:{fits[0]}"
    if not found:
        known = f"known names are {', '.join(ROLES)}"
        hint = f"say which is which, as in --query {Path(path).name}:NAME"
        raise ValueError(f"{OP}: codes: {path} holds {', '.join(held)}; {known}: {hint}")
    return found


def directions(given: Mapping[str, object], data: str | None) -> dict[str, tuple[str, str]]:
    """Direction -> roles of its queries and database.

    Args:
        given: roles that there are files for.
        data: name of the data set that labels and split come from, if any.
    Raises:
        ValueError: a part is missing, or more than one way of saying it is used.
    """
    for role in LABELS:
        if data is not None and role in given:
            raise ValueError(f"{OP}: {role} are those of the data set {data}; give one of them")
    whole = [role for role in ("image", "text") if role in given]
    parts = [role for roles in PAIRS.values() for role in roles if role in given]
    if whole and parts:
        raise ValueError(
            f"{OP}: give the codes of a whole data set ({whole[0]}) or of its parts ({parts[0]}), not both"
        )
    if whole:
        missing = next((role for role in ("image", "text") if role not in given), None)
        if missing:
            raise ValueError(f"{OP}: {whole[0]} codes need the {missing} codes beside them ({missing})")
        if data is None:
            raise ValueError(f"{OP}: codes of all {whole[0]}s need the data set that splits them (data)")
        return {"i2t": ("image", "text"), "t2i": ("text", "image")}
    found = {name: roles for name, roles in PAIRS.items() if roles[0] in given and roles[1] in given}
    if "one" in found and len(found) > 1:
        raise ValueError(f"{OP}: give query and database, or those of images and texts, not both")
    used = {role for roles in found.values() for role in roles}
    for role in parts:
        if role not in used:
            other = next(a if b == role else b for a, b in PAIRS.values() if role in (a, b))
            raise ValueError(f"{OP}: {role} needs {other}")
    if not found:
        raise ValueError(f"{OP}: no codes: give query and database, or those of images and texts")
    for role in LABELS:
        if data is None and role not in given:
            raise ValueError(f"{OP}: {role} is missing: give the labels of queries and database, or a data set")
    return found
