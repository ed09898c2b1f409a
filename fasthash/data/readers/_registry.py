"""Which layouts of files can be read, who reads them, and which of them a folder or file is."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from fasthash.data.gathered import Gathered
from fasthash.features._progress import Progress

Reader = Callable[..., Gathered]  # (where, *, name, progress, **options)
Detector = Callable[[Path], bool]


@dataclass(frozen=True)
class Kind:
    """A layout of files that `read` knows."""

    name: str
    summary: str
    options: Mapping[str, str] = field(default_factory=dict)  # option -> what it takes
    detects: Detector | None = None  # whether a path looks like this layout; None: it has to be named
    general: bool = False  # a container of anything (.npz, .csv): detected only where no layout of a data set fits
    on_disk: bool = True  # False: `where` may be a name that is no path
    function: Reader | None = None


_BUILT_IN: dict[str, str] = {  # kind -> module, so that none is imported before it is needed; a module may hold several
    "clip_line": "fasthash.data.readers.clip_line",
    "coco": "fasthash.data.readers.coco",
    "dcmh": "fasthash.data.readers.dcmh",
    "hichnet": "fasthash.data.readers.hichnet",
    "mirflickr25k": "fasthash.data.readers.mirflickr25k",
    "mith_lists": "fasthash.data.readers.mith_lists",
    "nus_wide": "fasthash.data.readers.nus_wide",
    "train_test": "fasthash.data.readers.train_test",
    "wiki": "fasthash.data.readers.train_test",
    "folder": "fasthash.data.readers.folder",
    "arrays": "fasthash.data.readers.arrays",
    "parquet": "fasthash.data.readers.parquet",
    "hf": "fasthash.data.readers.hf",
    "webdataset": "fasthash.data.readers.webdataset",
}
_KINDS: dict[str, Kind] = {}


def reader(
    name: str,
    summary: str,
    options: Mapping[str, str] | None = None,
    *,
    detect: Detector | None = None,
    general: bool = False,
    on_disk: bool = True,
) -> Callable[[Reader], Reader]:
    """Make a function known to `read`, as a decorator; it is called with ``(where, *, name, progress, **options)``.

    Args:
        name: of the layout: lower-case letters, digits and "_".
        summary: one line.
        options: its options, each with what it takes. Their values may come as words of a command line.
        detect: tells from a path, at a glance, whether it is this layout; errors count as no.
        general: the layout is a container of anything, which is detected only where no other one fits.
        on_disk: `where` is a path that must exist, given as a Path; otherwise it is handed over as it came.
    Raises:
        ValueError: the name is no such word, or taken by another reader.
    """
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise ValueError(f"readers.reader: name must be lower-case letters, digits and _, got {name!r}")

    def add(function: Reader) -> Reader:
        here = getattr(function, "__module__", None)
        taken = _KINDS.get(name)
        other = taken is not None and _identity(taken.function) != _identity(function)
        if other or _BUILT_IN.get(name, here) != here:
            raise ValueError(f"readers.reader: the kind {name!r} is taken by {_BUILT_IN.get(name, 'another reader')}")
        _KINDS[name] = Kind(name, summary, dict(options or {}), detect, general, on_disk, function)
        return function

    return add


def _identity(function: Any) -> tuple[str, str]:
    """The same after its module was imported once more."""
    return (getattr(function, "__module__", ""), getattr(function, "__qualname__", repr(function)))


def kinds() -> dict[str, Kind]:
    """Every layout that can be read, by name, with its options."""
    for name in _BUILT_IN:
        _kind(name)
    return {name: _KINDS[name] for name in sorted(_KINDS)}


def _kind(name: str) -> Kind:
    if name not in _KINDS and name in _BUILT_IN:
        import_module(_BUILT_IN[name])
    if name not in _KINDS:
        raise ValueError(f"readers.read: kind must be one of {', '.join(sorted(_KINDS | _BUILT_IN))}, got {name!r}")
    return _KINDS[name]


def read(
    kind: str, where: str | os.PathLike[str], *, name: str | None = None, progress: Progress = True, **options: Any
) -> Gathered:
    """The pairs of anybody's files, as they were found: nothing checked but equal lengths, nothing left out.

    Args:
        kind: one of `kinds()`, or "auto" for what `detect` says.
        where: the folder or file; for a kind of data sets that are not on disk, their name.
        name: what the data set shall be called; default: the reader's own.
        progress: True for a bar in a terminal, a callback (done, total), or False.
        options: of the kind; `kinds()[kind].options` says which.
    Raises:
        ValueError: unknown kind or option, a name that is none, or files that do not hold what they should.
        FileNotFoundError: the folder or file, or a file of the layout, is not there.
        RuntimeError: a package is missing; says which extra to install.
    """
    found = _kind(detect(where) if kind == "auto" else kind)
    for option in options:
        if option not in found.options:
            known = ", ".join(found.options) or "none"
            raise ValueError(f"readers.read: {found.name} has the options: {known}; got {option!r}")
    if name is not None and not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ValueError(f"readers.read: name must be letters, digits, - and _, got {name!r}")
    place: Any = where
    if found.on_disk:
        place = Path(where).expanduser()
        if not place.exists():
            raise FileNotFoundError(f"readers.read: {found.name}: no such file or folder: {os.fspath(where)}")
    assert found.function is not None  # set by `reader`
    return found.function(place, name=name, progress=progress, **options)


def detect(path: str | os.PathLike[str]) -> str:
    """The kind of layout that a folder or file is.

    Raises:
        FileNotFoundError: no such folder or file.
        ValueError: no layout fits, or several do; names them.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise FileNotFoundError(f"readers.detect: no such file or folder: {os.fspath(path)}")
    every = kinds().values()
    for general in (False, True):
        fits = [kind.name for kind in every if kind.general == general and _fits(kind, place)]
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise ValueError(f"readers.detect: {place} may be {' or '.join(fits)}: name the kind (--as {fits[0]})")
    known = ", ".join(kind.name for kind in every)
    raise ValueError(f"readers.detect: {place} is of no known layout; name one of {known} (--as)")


def _fits(kind: Kind, place: Path) -> bool:
    try:
        return kind.detects is not None and kind.detects(place)
    except (OSError, ValueError, RuntimeError):  # whatever is wrong with it is said where it is read
        return False
