"""Features computed once and kept: safetensors files, checked when read, resumed when they were interrupted.

A set of features is stored under `folder()` as ``features/<name>-<digest>.safetensors``; the digest covers the
extractor's description and a fingerprint of the items, so other weights or other pictures never meet an old file. While
it is computed, finished parts lie in ``<name>-<digest>.parts/``: an interrupted run goes on from the last one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash._files import replace_file
from fasthash.features._packages import require
from fasthash.features._progress import Progress, progress_bar
from fasthash.features.base import Extractor

FORMAT = 1
PART_ROWS = 512  # rows of one part: what an interruption costs at most
STEP_ROWS = 128  # rows between two signs of progress
_log = logging.getLogger("fasthash")


def folder(cache: str | os.PathLike[str] | None = None) -> Path:
    """Where computed features lie: `cache`, else FASTHASH_CACHE, else the user's cache folder (~/.cache/fasthash)."""
    if cache is None:
        cache = os.environ.get("FASTHASH_CACHE") or None
    if cache is not None:
        return Path(cache).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fasthash"


def cached_features(
    name: str,
    extractor: Extractor,
    items: Sequence[Any],
    *,
    fingerprint: str,
    cache: str | os.PathLike[str] | None = None,
    progress: Progress = None,
) -> NDArray[np.float32]:
    """Features of these items, from the cache when they were computed before.

    Args:
        name: short name of the set, part of the file name: letters, digits, "-" and "_".
        extractor: what computes them.
        items: n pictures or texts.
        fingerprint: digest of the items' contents; see `features.pictures.fingerprint`.
        cache: folder; see `folder`.
        progress: a callback (done, total), or True for a bar in a terminal.
    Returns:
        float32 [n, width].
    A damaged file is said in one line (logger "fasthash") and computed again; so is a folder that cannot be written to,
    and the features are computed all the same.
    """
    if not name or not all(char.isalnum() or char in "-_" for char in name):
        raise ValueError(f"cached_features: name must be letters, digits, '-' and '_', got {name!r}")
    key = {"format": FORMAT, "name": name, "fingerprint": fingerprint, "rows": len(items), "width": extractor.width}
    key["extractor"] = extractor.config() | {
        f"tensor {field}": _digest(value) for field, value in extractor.tensors().items()
    }
    text = json.dumps(key, sort_keys=True)
    stem = f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    path = folder(cache) / "features" / f"{stem}.safetensors"
    features = _read(path, text, (len(items), extractor.width))
    if features is None:
        parts = path.with_name(f"{stem}.parts")
        features = _compute(extractor, items, parts, text, progress, name)
        if _write(path, features, text):
            shutil.rmtree(parts, ignore_errors=True)
    return features


def _compute(
    extractor: Extractor, items: Sequence[Any], parts: Path, key: str, progress: Progress, name: str
) -> NDArray[np.float32]:
    """All rows, part by part; parts that an earlier run finished are taken as they are."""
    out = np.empty((len(items), extractor.width), np.float32)
    writable = True
    with progress_bar(f"{name}: features", len(items), progress) as report:
        for start in range(0, len(items), PART_ROWS):
            stop = min(start + PART_ROWS, len(items))
            path = parts / f"{start:09d}.safetensors"
            part = _read(path, key, (stop - start, extractor.width))
            if part is None:
                for i in range(start, stop, STEP_ROWS):
                    out[i : min(i + STEP_ROWS, stop)] = extractor.encode(items[i : min(i + STEP_ROWS, stop)])
                    report(min(i + STEP_ROWS, stop))
                if stop < len(items) and writable:  # the last part goes straight into the whole file
                    writable = _write(path, out[start:stop], key)
            else:
                out[start:stop] = part
                report(stop)
    return out


def _read(path: Path, key: str, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """The array of a cache file; None when there is none, or, said in one line, when it is damaged."""
    if not path.exists():
        return None
    safetensors = require("safetensors", "safetensors", "learn", "the feature cache")
    try:
        with safetensors.safe_open(path, framework="np") as file:
            header = file.metadata() or {}
            features: NDArray[np.float32] = file.get_tensor("features")
        if header.get("key") != key:
            raise ValueError("it belongs to other features")
        if features.dtype != np.float32 or features.shape != shape:
            raise ValueError(f"expected float32 {shape}, got {features.dtype} {features.shape}")
        if _digest(features) != header.get("sha256"):
            raise ValueError("its checksum is wrong")
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        _log.warning("cached features %s cannot be used and are computed again: %s", path, str(error).splitlines()[0])
        return None
    return features


def _write(path: Path, features: NDArray[np.float32], key: str) -> bool:
    """Stores an array whole or not at all; False, said in one line, when the folder cannot be written to."""
    save = require("safetensors.numpy", "safetensors", "learn", "the feature cache").save
    data = save({"features": np.ascontiguousarray(features)}, metadata={"key": key, "sha256": _digest(features)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, lambda temporary: temporary.write_bytes(data))
    except OSError as error:
        _log.warning("features are not kept: %s cannot be written: %s", path, error.strerror or error)
        return False
    return True


def _digest(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
