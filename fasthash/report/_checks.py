"""Checks of report values; each raises one line naming the record, the field, what was expected and what came."""

from __future__ import annotations

import math
import operator
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.codes import check_bits

# What XML and UTF-8 cannot hold: control characters but tab and line feed, lone surrogates, two non-characters.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


def check_text(op: str, name: str, value: Any, *, empty: bool = False) -> str:
    """The text with unprintable characters replaced by U+FFFD: captions in the wild have them."""
    if not isinstance(value, str):
        raise TypeError(f"{op}: {name} must be a text, got {type(value).__name__}")
    if not value.strip() and not empty:
        raise ValueError(f"{op}: {name} must not be empty, got {value!r}")
    return _UNPRINTABLE.sub("\ufffd", value)


def check_number(op: str, name: str, value: Any, *, optional: bool = False) -> float | None:
    """A finite number, 0 or more; None passes where it is optional."""
    if value is None and optional:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{op}: {name} must be a number, got {value!r}") from None
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{op}: {name} must be 0 or more and finite, got {value!r}")
    return number


def check_share(op: str, name: str, value: Any) -> float:
    """A number from 0 to 1; a mean that rounding has lifted just above 1 is 1."""
    number = check_number(op, name, value)
    if number is None or number > 1 + 1e-9:
        raise ValueError(f"{op}: {name} must be from 0 to 1, got {value!r}")
    return min(number, 1.0)


def check_whole(op: str, name: str, value: Any) -> int:
    """A whole number, 0 or more."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{op}: {name} must be a whole number, got {value!r}") from None
    if number < 0:
        raise ValueError(f"{op}: {name} must be 0 or more, got {number}")
    return number


def check_series(op: str, name: str, values: Any, *, shares: bool = False, finite: bool = True) -> NDArray[np.float64]:
    """A read-only float64 copy of a one-dimensional series."""
    try:
        series = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{op}: {name} must be a series of numbers, got {type(values).__name__}") from None
    if series.ndim != 1:
        raise ValueError(f"{op}: {name} must be one-dimensional, got shape {series.shape}")
    if finite and not np.isfinite(series).all():
        raise ValueError(f"{op}: {name} must be finite, got {series[~np.isfinite(series)][0]}")
    if shares and len(series) and not (series.min() >= 0 and series.max() <= 1):
        worst = series.min() if series.min() < 0 else series.max()
        raise ValueError(f"{op}: {name} must be from 0 to 1, got {worst}")
    series.flags.writeable = False
    return series


def check_picture(op: str, picture: Any) -> bytes | None:
    """The bytes of a PNG or JPEG file, or None."""
    if picture is None:
        return None
    if not isinstance(picture, (bytes, bytearray, memoryview)):
        raise TypeError(f"{op}: picture must be the bytes of a PNG or JPEG file, got {type(picture).__name__}")
    picture = bytes(picture)
    if not picture.startswith(_SIGNATURES):
        raise ValueError(f"{op}: picture must be the bytes of a PNG or JPEG file, got bytes that start {picture[:8]!r}")
    return picture


def set_values(record: object, **values: object) -> None:
    """Store checked values in a frozen record while it is being made."""
    for name, value in values.items():
        object.__setattr__(record, name, value)


def optional_bits(record: object, bits: int | None) -> int | None:
    """A code length that may be missing."""
    return None if bits is None else check_bits(bits, type(record).__name__)


def check_all(op: str, name: str, values: Any, kind: type) -> tuple[Any, ...]:
    """The values as a tuple, every one of this kind."""
    for value in values:
        if not isinstance(value, kind):
            raise TypeError(f"{op}: {name} must hold {kind.__name__} values, got {type(value).__name__}")
    return tuple(values)
