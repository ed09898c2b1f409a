"""Pictures as they lie on disk, in a zip or tar file or in memory, brought to one form: RGB, upright, over white."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fasthash.features._packages import require
from fasthash.features._tar import locate, read_member


@dataclass(frozen=True)
class Picture:
    """Where a picture lies: a file, or a member of a zip file or of an uncompressed .tar; read when it is asked for.

    A member of a .tar is NAME@OFFSET, the byte its contents begin at; NAME alone is looked for among the headers.
    """

    path: Path
    member: str | None = None

    def read(self) -> bytes:
        """The encoded bytes.

        Raises:
            FileNotFoundError: no such file or member.
            ValueError: the zip or tar file is damaged.
        """
        if self.member is None:
            return Path(self.path).read_bytes()
        if self._in_tar:
            return read_member(Path(self.path), self.member)
        with self._errors():
            return _archive(self.path, os.getpid()).read(self.member)

    def checksum(self) -> str:
        """A checksum of the encoded bytes: SHA-256; of a zip member CRC and length, as its archive says."""
        if self.member is None or self._in_tar:
            return hashlib.sha256(self.read()).hexdigest()
        with self._errors():
            info = _archive(self.path, os.getpid()).getinfo(self.member)
        return f"{info.CRC:08x}-{info.file_size}"

    def open(self) -> Any:
        """The picture as a PIL image in RGB, upright, transparency over white."""
        return open_picture(self)

    def exists(self) -> bool:
        """Whether the file, or the archive with this member, is there; nothing is decoded."""
        if self.member is None:
            return os.path.isfile(self.path)
        try:
            if self._in_tar:
                locate(Path(self.path), self.member)
            else:
                _archive(self.path, os.getpid()).getinfo(self.member)
        except (FileNotFoundError, KeyError):
            return False
        except (ValueError, zipfile.BadZipFile):
            return True  # there, and damaged: `read` says how
        return True

    @property
    def _in_tar(self) -> bool:
        return os.fspath(self.path).lower().endswith(".tar")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except KeyError:
            raise FileNotFoundError(f"{self}: the zip file has no such member") from None
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise ValueError(f"{self}: damaged zip file: {error}") from None

    def __str__(self) -> str:
        if self.member is None:
            return str(self.path)
        name, at, digits = self.member.rpartition("@")
        return f"{self.path}:{name if at and digits.isdecimal() and self._in_tar else self.member}"


def open_picture(item: Any, name: str = "picture") -> Any:
    """One picture of any kind as a PIL image in RGB.

    Args:
        item: a path, `Picture`, PIL image, or uint8 array [h, w], [h, w, 3] or [h, w, 4].
        name: what to call a picture in memory in an error; a file is called by its path.
    Returns:
        PIL image, mode RGB; turned as its EXIF orientation says; transparent parts over white.
    Raises:
        FileNotFoundError: no such file.
        ValueError: not a picture, damaged, or not 8 bits a channel.
        TypeError: another kind of object.
    """
    image_module = require("PIL.Image", "pillow", "report", "reading pictures")
    if isinstance(item, (str, os.PathLike)):
        item = Picture(Path(item))
    if isinstance(item, Picture):
        return decode_picture(item.read(), str(item))
    return _upright_rgb(item if isinstance(item, image_module.Image) else _from_array(item, name, image_module), name)


def decode_picture(encoded: bytes, name: str) -> Any:
    """The encoded bytes of a picture as a PIL image in RGB; for many threads at once. Errors as in `open_picture`."""
    image_module = require("PIL.Image", "pillow", "report", "reading pictures")
    with _QUIET:
        try:
            image = image_module.open(io.BytesIO(encoded))
            image.load()
        except Exception as error:  # decoders raise many kinds for damaged files
            raise ValueError(f"{name}: not a readable picture ({type(error).__name__})") from None
    return _upright_rgb(image, name)


def _upright_rgb(image: Any, name: str) -> Any:
    image_module = require("PIL.Image", "pillow", "report", "reading pictures")
    if image.mode.startswith("I") or image.mode == "F":
        raise ValueError(f"{name}: must have 8 bits a channel, got mode {image.mode}")
    image = require("PIL.ImageOps", "pillow", "report", "reading pictures").exif_transpose(image)
    if "transparency" not in image.info and "A" not in image.getbands() and "a" not in image.getbands():
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = image_module.new("RGBA", image.size, (255, 255, 255, 255))
    return image_module.alpha_composite(white, image).convert("RGB")


def fingerprint(pictures: Sequence[Picture]) -> str:
    """Digest of the names and contents of pictures, in order."""
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(f"{picture.member or Path(picture.path).name}\0{picture.checksum()}\n".encode())
    return digest.hexdigest()


def _from_array(item: Any, name: str, image_module: Any) -> Any:
    array = np.asarray(item) if hasattr(item, "__array__") else None
    if array is None:
        raise TypeError(f"{name}: must be a path, a PIL image or a uint8 array, got {type(item).__name__}")
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ValueError(
            f"{name}: an array must be uint8 [h, w], [h, w, 3] or [h, w, 4], got {array.dtype} {array.shape}"
        )
    return image_module.fromarray(np.ascontiguousarray(array))


class _Quiet:
    """Decoders' warnings off while any thread is inside; `warnings.catch_warnings` of its own in each thread would
    leave the filters as another thread had changed them."""

    def __init__(self) -> None:
        self._filters: Any = None
        self.forget()

    def forget(self) -> None:
        """Nobody is inside."""
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._filters.__exit__(*error)


_QUIET = _Quiet()
if hasattr(os, "register_at_fork"):  # a child must not inherit a lock that a thread of its parent holds
    os.register_at_fork(after_in_child=_QUIET.forget)


@lru_cache(maxsize=8)
def _archive(path: Path, pid: int) -> zipfile.ZipFile:
    """Opened once: the member list of a large archive takes longer to read than a picture. Once per process, because
    a forked child shares the file position of its parent."""
    return zipfile.ZipFile(path)
