"""A model as workers get it: from its folder, or from Ray's object store where it is only in memory."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fasthash.distributed.encoding import _store
from fasthash.models import HashModel

_FILES = ("config.json", "model.safetensors")
_PART = 1 << 22  # bytes that are hashed at once


@dataclass(frozen=True)
class SharedModel:
    """Where workers find a model.

    Args:
        checksum: SHA-256 of its files; a worker that finds other files refuses them.
        folder: that every worker can read; None: the files are in ``stored``.
        stored: reference to the files' contents in the object store.
        setup: called in a worker before the model is loaded.
    """

    checksum: str
    folder: str | None
    stored: Any = None
    setup: Callable[[], object] | None = None

    def load(self, device: str) -> HashModel:
        """The model, in the process of a worker."""
        if self.setup is not None:
            self.setup()
        if self.folder is not None:
            found = checksum(Path(self.folder))
            if found != self.checksum:
                raise ValueError(f"encode: the model in {self.folder} was changed while it was used")
            return HashModel.load(self.folder, device)
        with tempfile.TemporaryDirectory(prefix="fasthash-model-") as folder:
            for name, content in _store.get(self.stored).items():
                Path(folder, name).write_bytes(content)
            return HashModel.load(folder, device)


def checksum(folder: Path) -> str:
    """SHA-256 of the files that a model is loaded from."""
    found = hashlib.sha256()
    for name in _FILES:
        with (folder / name).open("rb") as file:
            while part := file.read(_PART):
                found.update(part)
    return found.hexdigest()


def share(
    model: str | os.PathLike[str] | HashModel, setup: Callable[[], object] | None
) -> tuple[HashModel, Callable[[], SharedModel]]:
    """The model itself, and what shares it with workers once Ray runs. Errors as of `HashModel.load`."""
    if isinstance(model, (str, os.PathLike)):
        folder = os.path.abspath(model)
        loaded = HashModel.load(folder)
        known = checksum(Path(folder))
        return loaded, lambda: SharedModel(known, folder, None, setup)
    if not isinstance(model, HashModel):
        raise TypeError(f"encode: model must be a HashModel or the folder of a run, got {type(model).__name__}")
    with tempfile.TemporaryDirectory(prefix="fasthash-model-") as temporary:
        model.save(temporary)
        known = checksum(Path(temporary))
        contents = {name: Path(temporary, name).read_bytes() for name in _FILES}

    return model, lambda: SharedModel(known, None, _store.put(contents), setup)
