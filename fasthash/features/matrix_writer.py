"""The resumable way to write a `matrix_file`: what is on the disk is never made again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from numpy.typing import NDArray

from fasthash._files import replace_file
from fasthash.features.matrix_file import FORMAT, ITEM, header, put_block

KEEP_BYTES, KEEP_SECONDS = 1 << 26, 10.0  # what a kill costs at most, whichever comes first


class MatrixWriter:
    """Writes a matrix in blocks and goes on after a kill: rows lie in ``PATH.partial``, their count in
    ``PATH.partial.json``, written after the rows are on the disk, so that a torn tail is cut off and made again.

    Args:
        path: where the finished file shall stand.
        rows, width: of the whole matrix.
        key: JSON-able; what the rows follow from. Rows that were made under another key are not continued.
        metadata: strings by name, for `matrix_metadata`; part of the key.
        resume: False begins anew, whatever lies there.
    Raises:
        ValueError: the rows that lie there were made under another key, or are damaged.
        RuntimeError: another process is writing them.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        rows: int,
        width: int,
        key: Any,
        metadata: Mapping[str, str] | None = None,
        *,
        resume: bool = True,
    ) -> None:
        self.path, self.rows, self.width = Path(path), rows, width
        self.partial = self.path.with_name(f"{self.path.name}.partial")
        self.progress = self.path.with_name(f"{self.path.name}.partial.json")
        self._key, self._head = _begin(rows, width, key, metadata or {})
        self.done = 0  # rows that are written
        self._kept, self._kept_at = 0, time.monotonic()
        self._file: IO[bytes] | None = None
        self.finished = resume and self.is_finished(path, rows, width, key, metadata)
        if self.finished:
            self.done = rows
            self.discard()
        else:
            self._open(resume)

    def append(self, block: NDArray[Any]) -> None:
        """The next rows, [m, width].

        Raises:
            ValueError: another width, too many rows, or the writer is closed.
            OSError: the disk is full...; the rows before stay.
        """
        if self._file is None:
            raise ValueError(f"MatrixWriter: {self.path} is finished or closed")
        with self._named():
            put_block(self._file, block, self.done + len(block), self.rows, self.width)
        self.done += len(block)
        behind = (self.done - self._kept) * self.width * ITEM.itemsize
        if behind >= KEEP_BYTES or time.monotonic() - self._kept_at >= KEEP_SECONDS:
            self.keep()

    def keep(self) -> None:
        """Bring what was written so far onto the disk: a kill from here on does not cost it."""
        if self._file is None:
            return
        with self._named():
            self._file.flush()
            os.fsync(self._file.fileno())
        self._note(self.done)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """What the disk says, with the file: an error of a write names none."""
        try:
            yield
        except OSError as error:
            if error.errno is None or error.filename is not None:
                raise
            raise OSError(error.errno, error.strerror, str(self.partial)) from None

    def finish(self) -> Path:
        """Put the whole matrix in its place.

        Raises:
            ValueError: rows are missing.
        """
        if self.finished:
            return self.path
        if self._file is None or self.done != self.rows:
            raise ValueError(f"MatrixWriter: {self.path} needs {self.rows} rows to be finished, got {self.done}")
        self.keep()
        os.replace(self.partial, self.path)
        self._release()
        self.progress.unlink(missing_ok=True)
        self.finished = True
        return self.path

    def close(self) -> None:
        """Keep what is there, to be continued later."""
        try:
            self.keep()
        finally:
            self._release()

    def discard(self) -> None:
        """Throw away what is not finished."""
        self._release()
        self.partial.unlink(missing_ok=True)
        self.progress.unlink(missing_ok=True)

    def __enter__(self) -> MatrixWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _release(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):  # a full disk once more: what is on it was counted before
                file.close()

    @staticmethod
    def is_finished(
        path: str | os.PathLike[str], rows: int, width: int, key: Any, metadata: Mapping[str, str] | None = None
    ) -> bool:
        """Whether the whole matrix of this key stands at the place already."""
        head = _begin(rows, width, key, metadata or {})[1]
        try:
            whole = os.stat(path).st_size == len(head) + rows * width * ITEM.itemsize
            with open(path, "rb") as file:
                return whole and file.read(len(head)) == head
        except FileNotFoundError:
            return False

    def _open(self, resume: bool) -> None:
        handle = os.open(self.partial, os.O_RDWR | os.O_CREAT, 0o666)
        self._file = os.fdopen(handle, "rb+")
        try:
            _lock(self._file, self.path)
            done = self._found() if resume else 0
            if done == 0:
                self._note(0)  # before the first row: what lay there from before does not count any more
                self._file.truncate(0)
                self._file.write(self._head)
            else:
                self._file.truncate(len(self._head) + done * self.width * ITEM.itemsize)
                self._file.seek(0, os.SEEK_END)
        except BaseException:
            self._release()
            raise
        self.done = self._kept = done

    def _found(self) -> int:
        """Rows that an earlier run left."""
        again = "begin anew (overwrite) or remove it"
        try:
            noted = json.loads(self.progress.read_text(encoding="utf-8"))
            assert noted["format"] == FORMAT
            done, shape, key = int(noted["done"]), noted["shape"], noted["key"]
        except FileNotFoundError:
            return 0
        except (ValueError, KeyError, TypeError, AssertionError):
            raise ValueError(f"MatrixWriter: {self.progress} is damaged: {again}") from None
        if done == 0:
            return 0
        if key != self._key or shape != [self.rows, self.width]:
            what = _difference(key, self._key) if key != self._key else f"shape was {shape}"
            raise ValueError(f"MatrixWriter: {self.partial} was begun with other settings ({what}): {again}")
        assert self._file is not None
        size = os.fstat(self._file.fileno()).st_size
        whole = 0 <= done <= self.rows and size >= len(self._head) + done * self.width * ITEM.itemsize
        if not whole or self._file.read(len(self._head)) != self._head:
            raise ValueError(f"MatrixWriter: {self.partial} is damaged, it lacks rows that were finished: {again}")
        return done

    def _note(self, done: int) -> None:
        value = {"format": FORMAT, "shape": [self.rows, self.width], "done": done, "key": self._key}
        text = json.dumps(value)
        replace_file(self.progress, lambda path: path.write_text(text, encoding="utf-8"))
        self._kept, self._kept_at = done, time.monotonic()


def _begin(rows: int, width: int, key: Any, metadata: Mapping[str, str]) -> tuple[Any, bytes]:
    """The key as it is read back, and the header, which tells matrices of different keys apart."""
    whole = json.loads(json.dumps({"key": key, "metadata": metadata}))
    digest = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
    return whole, header(rows, width, {**metadata, "key": digest})


def _difference(before: Any, now: Any) -> str:
    """The first setting that differs, with both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                inner = _difference(before.get(name), now.get(name))
                return inner if isinstance(now.get(name), dict) else f"{name} was {inner}"
    return f"{str(before)[:60]}, now {str(now)[:60]}"


def _lock(file: IO[bytes], path: Path) -> None:
    """Held until the file is closed, also by a kill."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise RuntimeError(f"MatrixWriter: another process is writing {path}") from None
