"""MS COCO as it is given out: annotations/instances_*.json and captions_*.json; pictures in train2017/ and val2017/."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fasthash.data.gathered import Gathered
from fasthash.data.readers._field import first_there, folder, one_of
from fasthash.data.readers._registry import reader
from fasthash.features import Picture
from fasthash.features._progress import Progress, progress_bar

KIND = "coco"
WHOLE, ALL, LABELLED = ["train2017", "val2017"], 123287, 122218  # pairs in all, and with at least one label


def _annotations(where: Path) -> Path | None:
    return next((root for root in (where / "annotations", where) if any(root.glob("instances_*.json"))), None)


def _is_coco(where: Path) -> bool:
    root = _annotations(where) if where.is_dir() else None
    return root is not None and any(root.glob("captions_*.json"))


@reader(
    KIND,
    "MS COCO as given out: annotations/instances_*.json and captions_*.json, pictures in train2017/, val2017/",
    {
        "parts": "which parts, with commas; default: every one that has both files, training first: train2017,val2017",
        "subset": "labelled (default: pairs with at least one object) or all",
        "pictures": "folder of the folders (or zip files) of pictures; default: beside annotations/",
    },
    detect=_is_coco,
)
def read(
    where: Path,
    *,
    name: str | None,
    progress: Progress,
    parts: str | None = None,
    subset: str = "labelled",
    pictures: str | None = None,
) -> Gathered:
    """See `fasthash.data.readers.read`."""
    subset = one_of(KIND, "subset", subset, ("labelled", "all"))
    root = _annotations(where) if where.is_dir() else None
    if root is None:
        raise FileNotFoundError(f"{KIND}: no such file: {where / 'annotations' / 'instances_train2017.json'}")
    titles = _parts(root, parts)
    base = folder(KIND, "pictures", pictures) if pictures else where
    columns: dict[str, list[Any]] = {title: [] for title in ("ids", "pictures", "texts", "labels", "where")}
    classes: dict[int, str] | None = None
    with progress_bar("reading annotations", 2 * len(titles), progress) as done:
        for i, title in enumerate(titles):
            instances = _json(root / f"instances_{title}.json", ("images", "annotations", "categories"))
            done(2 * i + 1)
            captions = _json(root / f"captions_{title}.json", ("annotations",))
            done(2 * i + 2)
            classes = _classes(root / f"instances_{title}.json", instances, classes)
            _add(columns, title, instances, captions, classes, base, root)
    assert classes is not None  # there is at least one part
    labels = np.zeros((len(columns["ids"]), len(classes)), np.uint8)
    for row, found in enumerate(columns["labels"]):
        labels[row, found] = 1
    kept = np.flatnonzero(labels.any(axis=1)) if subset == "labelled" else np.arange(len(labels))
    if subset == "labelled" and titles == WHOLE and len(labels) == ALL and len(kept) != LABELLED:
        raise ValueError(f"{KIND}: {root}: expected {LABELLED} pairs with a label of {ALL}, found {len(kept)}")
    chosen = {title: [column[i] for i in kept] for title, column in columns.items()}
    return Gathered(
        name=name or KIND, ids=chosen["ids"], pictures=chosen["pictures"], texts=chosen["texts"], labels=labels[kept],
        class_names=tuple(classes.values()), where=chosen["where"],
        notes=("supercategories are no layer: a photo has objects of several",),
        source="T.-Y. Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014",
        licence="annotations CC BY 4.0; each photo under its Flickr licence",
    )  # fmt: skip


def _parts(root: Path, given: str | None) -> list[str]:
    there = [path.stem.removeprefix("instances_") for path in sorted(root.glob("instances_*.json"))]
    there = [title for title in there if (root / f"captions_{title}.json").is_file()]
    if given is None:
        if not there:
            raise FileNotFoundError(f"{KIND}: {root} has no captions_*.json of the same part as an instances_*.json")
        return sorted(there, key=lambda title: (not title.startswith("train"), title))
    wanted = [word.strip() for word in str(given).split(",") if word.strip()]
    for title in wanted:
        for file in (f"instances_{title}.json", f"captions_{title}.json"):
            if not (root / file).is_file():
                raise FileNotFoundError(f"{KIND}: no such file: {root / file}")
    if not wanted:
        raise ValueError(f"{KIND}: parts must be some of {', '.join(there)}, got {given!r}")
    return wanted


def _json(path: Path, fields: tuple[str, ...]) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{KIND}: {path} is damaged or no JSON: {str(error).splitlines()[0]}") from None
    for field in fields:
        if not isinstance(content, dict) or not isinstance(content.get(field), list):
            raise ValueError(f"{KIND}: {path} must have a list {field!r}, as the annotations of COCO have")
    return {field: content[field] for field in fields}


def _classes(path: Path, instances: Mapping[str, Any], before: dict[int, str] | None) -> dict[int, str]:
    """Class names by their numbers, ascending; the same in every part."""
    try:
        rows = sorted((int(row["id"]), str(row["name"])) for row in instances["categories"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{KIND}: {path}: each of categories must have id and name: {error!r}") from None
    found = dict(rows)
    if before is not None and before != found:
        raise ValueError(f"{KIND}: {path}: expected the {len(before)} categories of the part before, found others")
    return found


def _add(
    columns: dict[str, list[Any]], title: str, instances: Mapping[str, Any], captions: Mapping[str, Any],
    classes: Mapping[int, str], base: Path, root: Path,
) -> None:  # fmt: skip
    """The pairs of one part, in the order of its list of images."""
    column = {number: i for i, number in enumerate(classes)}
    labels: dict[int, list[int]] = {}
    texts: dict[int, list[str]] = {}
    file = root / f"instances_{title}.json"
    try:
        images = [(row["id"], row["file_name"]) for row in instances["images"]]
        known = {number for number, _ in images}
        for row in instances["annotations"]:
            labels.setdefault(row["image_id"], []).append(column[row["category_id"]])
        file = root / f"captions_{title}.json"
        for row in captions["annotations"]:
            texts.setdefault(row["image_id"], []).append(" ".join(str(row["caption"]).split()))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{KIND}: {file}: an entry lacks a field or names an unknown category: {error!r}") from None
    for part, numbers in ((f"instances_{title}.json", set(labels)), (f"captions_{title}.json", set(texts))):
        strange = next(iter(numbers - known), None)
        if strange is not None:
            raise ValueError(f"{KIND}: {root / part}: image_id {strange} is none of images in instances_{title}.json")
    folders = (base / title, base / "images" / title)
    archive = base / f"{title}.zip"
    at = first_there(folders)
    for number, name in images:
        inside = at is None and archive.is_file()
        picture = Picture(archive, f"{title}/{name}") if inside else Picture((at or folders[0]) / name)
        columns["ids"].append(name)
        columns["pictures"].append(picture)
        columns["texts"].append(tuple(texts.get(number, ())))
        columns["labels"].append(labels.get(number, []))
        columns["where"].append(f"instances_{title}.json:{number}")
