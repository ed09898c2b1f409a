"""Codes and labels as people keep them -> packed codes, and labels as the metrics take them; by stated rules.

Codes, unless a form is named: booleans are bits. uint8 of values other than 0 and 1 is packed, eight bits to the byte;
uint8 of 0 and 1 alone is a bit a value, or packed where the code length that was named says so. Other numbers: 0 and 1
alone are bits; -1 and +1 alone are signs; anything else, with values on both sides of 0, is real and its sign is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash._labels import check_labels
from fasthash.codes import MAX_BITS, check_bits, check_packed

OP = "evaluate"
FORMS = {
    "packed": "packed, eight bits to the byte",
    "bits": "0 and 1, a bit a value",
    "signs": "-1 and +1",
    "real": "real values, of which sign(x) is taken, 0 as +1",
}
LABEL_FORMS = ("ids", "multi-hot")
_CELLS = 1 << 22  # values looked at together


@dataclass(frozen=True)
class Codes:
    """Packed codes of one file."""

    packed: NDArray[np.uint8]
    form: str
    zeros: int = 0  # real values of exactly 0, taken as +1

    @property
    def words(self) -> str:
        """How the file was read."""
        return FORMS[self.form] + (f" ({self.zeros:,} values are 0)" if self.form == "real" and self.zeros else "")


@dataclass(frozen=True)
class _Seen:
    """What values occur in an array."""

    low: float
    high: float
    zeros: int
    ones: int
    minus: int
    size: int

    @property
    def binary(self) -> bool:
        return self.zeros + self.ones == self.size

    @property
    def signs(self) -> bool:
        return self.minus + self.ones == self.size


def to_codes(
    arrays: Mapping[str, NDArray[Any]], bits: int | None = None, form: str | None = None
) -> tuple[dict[str, Codes], int]:
    """Packed codes of several arrays, all of one length.

    Args:
        arrays: what each is -> [n, width] numbers.
        bits: code length; None: the width, or eight times the width of packed codes.
        form: a name of FORMS; None: by the rules of this module.
    Returns:
        what each is -> its codes, and the code length.
    Raises:
        ValueError: one line that says which array, what was expected and what came.
    """
    if bits is not None:
        check_bits(bits, OP)
    if form is not None and form not in FORMS:
        raise ValueError(f"{OP}: form must be one of {', '.join(FORMS)}, got {form!r}")
    seen = {what: _look(values, what) for what, values in arrays.items()}
    plain = all(seen[what].binary for what, values in arrays.items() if values.dtype == np.uint8)
    forms = {what: form or _form(arrays[what], seen[what], bits, plain, what) for what in arrays}
    _check_mixed(arrays, seen, forms)
    lengths = {what: _length(values, forms[what], bits, what) for what, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{what} {n} bits" for what, n in lengths.items())
        raise ValueError(f"{OP}: codes must all be of one length, got {said}")
    every = next(iter(lengths.values()))
    return {what: _packed(values, seen[what], forms[what], every, what) for what, values in arrays.items()}, every


def _length(values: NDArray[Any], form: str, bits: int | None, what: str) -> int:
    """Code length of an array, after comparing it with the one that was named."""
    width = values.shape[1]
    if form == "packed":
        if bits is None:
            return check_bits(8 * width, OP)
        if width != (bits + 7) // 8:
            raise ValueError(f"{OP}: {what}: packed codes of {bits} bits must be {(bits + 7) // 8} wide, got {width}")
        return bits
    if bits is not None and width != bits:
        raise ValueError(f"{OP}: {what}: {FORMS[form]}: must be {bits} wide for {bits} bits, got {width}")
    if width > MAX_BITS:
        raise ValueError(f"{OP}: {what}: codes must have 1 to {MAX_BITS} bits, got {width}")
    return width


def to_labels(values: NDArray[Any], rows: int, what: str, form: str | None = None) -> NDArray[Any]:
    """Labels as bool [n, c] or class ids int64 [n].

    A vector, or a matrix of a single column or row, holds class ids; any other matrix is multi-hot. Ids may be floats
    of whole numbers, as MATLAB keeps them.

    Args:
        values: of the file.
        rows: how many the codes have.
        form: "ids" or "multi-hot"; None: by the rule.
    Raises:
        ValueError, TypeError: one line that says which array, what was expected and what came.
    """
    if form is not None and form not in LABEL_FORMS:
        raise ValueError(f"{OP}: label form must be one of {', '.join(LABEL_FORMS)}, got {form!r}")
    if values.ndim == 2 and form != "multi-hot" and 1 in values.shape and values.size == rows:
        values = values.reshape(-1)
    if form == "ids" and values.ndim != 1:
        raise ValueError(f"{OP}: {what}: class ids must be [{rows}], got shape {values.shape}")
    if form == "multi-hot" and values.ndim != 2:
        raise ValueError(f"{OP}: {what}: multi-hot labels must be [{rows}, c], got shape {values.shape}")
    if values.ndim == 2 and len(values) != rows and values.shape[1] == rows:
        raise ValueError(f"{OP}: {what}: must have {rows} rows like the codes, got {values.shape}: is it transposed?")
    if values.ndim == 1 and values.dtype.kind == "b":
        values = values.astype(np.int64)
    if values.ndim == 1 and values.dtype.kind == "f":
        wrong = np.flatnonzero(~((values == np.floor(values)) & (np.abs(values) < 2.0**53)))  # ~: NaN is wrong as well
        if len(wrong):
            row = int(wrong[0])
            limit = " below 2**53" if abs(values[row]) >= 2.0**53 else ""
            raise ValueError(f"{OP}: {what}: class ids must be whole numbers{limit}, got {values[row]} in row {row}")
        values = values.astype(np.int64)
    return check_labels(values, rows, OP, what)


def _look(values: NDArray[Any], what: str) -> _Seen:
    if values.ndim != 2:
        raise ValueError(f"{OP}: {what}: codes must be [n, width], got shape {values.shape}")
    if values.dtype.kind not in "buif":
        raise ValueError(f"{OP}: {what}: codes must be numbers or booleans, got {values.dtype}")
    if 0 in values.shape:
        raise ValueError(f"{OP}: {what}: codes must have at least one row and one column, got shape {values.shape}")
    low, high, zeros, ones, minus = np.inf, -np.inf, 0, 0, 0
    for rows, part in _parts(values):
        if part.dtype.kind == "f" and np.isnan(part).any():
            row = rows.start + int(np.flatnonzero(np.isnan(part).any(axis=1))[0])
            raise ValueError(f"{OP}: {what}: codes must be numbers, got NaN in row {row}")
        low, high = min(low, float(part.min())), max(high, float(part.max()))
        zeros += int(np.count_nonzero(part == 0))
        ones += int(np.count_nonzero(part == 1))
        minus += 0 if part.dtype.kind in "bu" else int(np.count_nonzero(part == -1))
    return _Seen(low, high, zeros, ones, minus, values.size)


def _parts(values: NDArray[Any]) -> Iterator[tuple[slice, NDArray[Any]]]:
    step = max(1, _CELLS // values.shape[1])
    for start in range(0, len(values), step):
        yield slice(start, start + step), values[start : start + step]


def _form(values: NDArray[Any], seen: _Seen, bits: int | None, plain: bool, what: str) -> str:
    """The form by the rules of this module; ``plain``: no uint8 array holds anything but 0 and 1."""
    kind = values.dtype.kind
    if kind == "b":
        return "bits"
    if values.dtype == np.uint8:
        if not plain:
            return "packed"
        return "packed" if bits is not None and values.shape[1] != bits else "bits"
    if seen.binary:
        return "bits"
    if seen.signs:
        return "signs"
    span = f"values from {seen.low:g} to {seen.high:g}"
    if kind != "f" and seen.zeros + seen.ones + seen.minus < seen.size:
        hint = " (packed codes are uint8; name the form packed if these are bytes)" if seen.low >= 0 else ""
        raise ValueError(f"{OP}: {what}: whole numbers must be 0 and 1, or -1 and +1, got {span}{hint}")
    if seen.low >= 0 or seen.high < 0:
        sign = "+1" if seen.low >= 0 else "-1"
        hint = "save bits instead, or name the form real if that is meant"
        raise ValueError(f"{OP}: {what}: {span}: every sign would be {sign}; {hint}")
    return "real"


def _check_mixed(arrays: Mapping[str, NDArray[Any]], seen: Mapping[str, _Seen], forms: Mapping[str, str]) -> None:
    """ValueError where 0 means bit 0 in one file and +1, or nothing, in another."""
    zero = [what for what in arrays if forms[what] == "bits" and arrays[what].dtype.kind != "b" and seen[what].zeros]
    sign = [what for what in arrays if forms[what] in ("signs", "real")]
    if zero and sign:
        one, other = (f"{what} holds {seen[what].low:g} to {seen[what].high:g}" for what in (zero[0], sign[0]))
        raise ValueError(f"{OP}: codes must be of one form, but {one} and {other}: name the form")


def _packed(values: NDArray[Any], seen: _Seen, form: str, bits: int, what: str) -> Codes:
    if form == "packed":
        if values.dtype != np.uint8:
            if values.dtype.kind not in "iu" or seen.low < 0 or seen.high > 255:
                got = f"{values.dtype} from {seen.low:g} to {seen.high:g}"
                raise ValueError(f"{OP}: {what}: packed codes must be whole numbers from 0 to 255, got {got}")
            values = values.astype(np.uint8)
        return Codes(np.ascontiguousarray(check_packed(values, bits, OP, what)), form)
    if (form == "bits" and not seen.binary) or (form == "signs" and not seen.signs):
        raise ValueError(f"{OP}: {what}: must hold {FORMS[form]}, got values from {seen.low:g} to {seen.high:g}")
    packed = np.empty((len(values), (bits + 7) // 8), np.uint8)
    for rows, part in _parts(values):
        packed[rows] = np.packbits(part == 1 if form == "bits" else part >= 0, axis=1)
    return Codes(packed, form, seen.zeros if form == "real" else 0)
