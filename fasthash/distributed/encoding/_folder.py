"""The folder of an encoding: what was asked, the parts that are done, and last of all the manifest."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fasthash._files import locked_folder, replace_file
from fasthash.distributed.encoding._parts import PATTERN, TRIES, Part, read_part

MANIFEST, REQUEST, SHARDS = "encode.json", "request.json", "shards"
FORMAT, VERSION = "fasthash.encode", 1


class OutFolder:
    """Parts of one request; any other request is refused.

    Args:
        path: the folder; made if need be.
        key: JSON-able: what the parts follow from.
    """

    def __init__(self, path: Path, key: dict[str, Any]) -> None:
        self.path = path
        self.key: dict[str, Any] = json.loads(json.dumps(key))

    @contextmanager
    def taken(self, *, overwrite: bool) -> Iterator[dict[str, Any] | None]:
        """Hold the folder for this process; yields the manifest where everything is done already.

        Raises:
            ValueError: it holds another request, or files of somebody else.
            RuntimeError: another process is writing into it.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"encode: out must be a folder, got the file {self.path}")
        self.path.mkdir(parents=True, exist_ok=True)
        with locked_folder(self.path, f"encode: another process is encoding into {self.path}"):
            if overwrite:
                self._clear()
            manifest, request = self._read(MANIFEST), self._read(REQUEST)
            before = manifest or request
            if before is None:
                self._check_empty()
            elif before.get("key") != self.key:
                name = difference(before.get("key"), self.key)
                raise ValueError(f"encode: {self.path} was begun with another {name}; overwrite=True begins anew")
            for pattern in (".fasthash-*.tmp", TRIES):  # of workers that were killed
                for left in self.path.glob(pattern):
                    left.unlink(missing_ok=True)
            yield manifest

    def begin(self) -> None:
        """Say what is encoded here; a manifest, whose parts are not all there, goes."""
        self._write(REQUEST, {"format": FORMAT, "version": VERSION, "key": self.key})
        (self.path / MANIFEST).unlink(missing_ok=True)

    def parts(self, model: str) -> dict[str, Part]:
        """The parts that are done, by file; one that cannot be read is removed, so that it is made again."""
        found = {}
        for path in sorted(self.path.glob(PATTERN)):
            part = read_part(path, model)
            if part is None:
                path.unlink()
            else:
                found[part.file] = part
        return found

    def finish(self, parts: list[Part], about: dict[str, Any]) -> dict[str, Any]:
        """Write the manifest: the encoding is whole."""
        named = {part.file for part in parts}
        for path in self.path.glob(PATTERN):
            if path.name not in named:  # made of a batch that Ray put together in another way afterwards
                path.unlink()
        listed = [{"file": part.file, "rows": part.rows} for part in parts]
        manifest = {"format": FORMAT, "version": VERSION, **about, "parts": listed, "key": self.key}
        self._write(MANIFEST, manifest)
        (self.path / REQUEST).unlink(missing_ok=True)
        return manifest

    def _write(self, name: str, value: dict[str, Any]) -> None:
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        replace_file(self.path / name, lambda path: path.write_text(text, encoding="utf-8"))

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            return read_json(self.path / name)
        except FileNotFoundError:
            return None

    def _clear(self) -> None:
        """Remove what an encoding wrote. A kill within leaves a request, by which the rest is known as ours."""
        manifest, request = self._read(MANIFEST), self._read(REQUEST)
        if manifest is None and request is None:
            return
        if manifest is not None and request is None:
            self._write(REQUEST, {"format": FORMAT, "version": VERSION, "key": manifest.get("key")})
        (self.path / MANIFEST).unlink(missing_ok=True)  # nothing half removed looks whole
        shards = self.path / SHARDS
        if shards.is_dir() and all(name.startswith(("shard", ".fasthash-")) for name in os.listdir(shards)):
            shutil.rmtree(shards)  # with or without shards.json: they may be half written
        for path in self.path.glob(PATTERN):
            path.unlink()
        (self.path / REQUEST).unlink(missing_ok=True)

    def _check_empty(self) -> None:
        others = sorted(entry for entry in os.listdir(self.path) if not entry.startswith("."))
        if others:
            raise ValueError(f"encode: out must be a new or empty folder, {self.path} holds {others[0]}")


def read_json(path: Path) -> dict[str, Any]:
    """A request or a manifest.

    Raises:
        FileNotFoundError: there is none. ValueError: damaged, foreign, or of a newer version.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"encode: {path} is damaged: {error}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("version"), int):
        raise ValueError(f"encode: {path} is no file of an encoding")
    if found["version"] > VERSION:
        raise ValueError(f"encode: {path} has format version {found['version']}, this fasthash reads up to {VERSION}")
    return found


def difference(before: Any, now: Any) -> str:
    """The first setting that differs: "side: image, now text"."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return f"{str(before)[:60]}, now {str(now)[:60]}"
    for name in dict.fromkeys([*now, *before]):
        was, is_ = before.get(name), now.get(name)
        if was != is_:
            inner = difference(was, is_)
            return f"{name} {inner}" if isinstance(is_, dict) and isinstance(was, dict) else f"{name}: {inner}"
    return "key"
