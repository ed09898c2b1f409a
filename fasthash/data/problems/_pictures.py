"""Every picture looked at once: is it there, can it be decoded, and what is in it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fasthash.features import Picture
from fasthash.features._progress import Progress, progress_bar
from fasthash.features.pictures import decode_picture

_CHUNK = 256  # pictures of one task: the threads' bookkeeping is nothing beside it
OK, MISSING, DAMAGED = 0, 1, 2
EXAMPLES = 3  # pairs named of each kind of problem


@dataclass(frozen=True, eq=False)
class Seen:
    """What was found out about n pictures."""

    state: NDArray[np.uint8]  # [n] of OK, MISSING, DAMAGED
    keys: NDArray[np.uint64] | None  # [n, 2] digest of the encoded bytes; zeros where unread. None: nothing was read
    said: dict[int, str]  # row -> what is wrong, at least of the first few of each state


def look(pictures: Sequence[Picture | None], *, decode: bool, progress: Progress, name: str) -> Seen:
    """All pictures, in threads: reading waits for the disk, and decoders run beside Python.

    Args:
        decode: open every one, to the last pixel; else only see whether it exists.
    """
    n = len(pictures)
    state = np.zeros(n, np.uint8)
    keys = np.zeros((n, 2), np.uint64) if decode else None

    def work(start: int) -> dict[int, str]:
        lines: dict[int, str] = {}
        seen = [0, 0, 0]  # of each state
        for row in range(start, min(start + _CHUNK, n)):
            picture = pictures[row]
            found, error = _exists(picture) if keys is None else _decoded(picture, row, keys)
            state[row] = found
            seen[found] += 1
            if found != OK and seen[found] <= EXAMPLES:
                lines[row] = str(error) if found == DAMAGED else _absent(picture)
        return lines

    said: dict[int, str] = {}
    title = f"{name}: opening pictures" if decode else f"{name}: looking for pictures"
    pool = ThreadPoolExecutor(_threads())
    try:
        with progress_bar(title, n, progress) as report:
            for done, lines in enumerate(pool.map(work, range(0, n, _CHUNK)), 1):
                report(min(done * _CHUNK, n))
                said |= lines
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupted run does not decode the rest first
    return Seen(state, keys, said)


def _threads() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(32, cores + 4)


def _exists(picture: Picture | None) -> tuple[int, None]:
    return (OK if picture is not None and picture.exists() else MISSING), None


def _absent(picture: Picture | None) -> str:
    return "no picture is named" if picture is None else f"no such picture: {picture}"


def _decoded(picture: Picture | None, row: int, keys: NDArray[np.uint64]) -> tuple[int, Exception | None]:
    if picture is None:
        return MISSING, None
    try:
        encoded = picture.read()
        keys[row] = np.frombuffer(hashlib.blake2b(encoded, digest_size=16).digest(), np.uint64)
        decode_picture(encoded, str(picture))
    except (FileNotFoundError, NotADirectoryError):
        return MISSING, None
    except (ValueError, OSError) as error:
        return DAMAGED, error
    return OK, None
