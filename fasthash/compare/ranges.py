"""The values of an option that a sweep goes through, as they are written on a command line."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

MOST = 1000  # values of one option: more is rather a slip in the step


@dataclass(frozen=True)
class Axis:
    """An option and the values that it takes, as text."""

    name: str
    values: tuple[str, ...]


def parse_axis(name: str, text: str, op: str = "sweep") -> Axis:
    """An axis from its written values.

    Args:
        name: of the option.
        text: ``a:b:step``, from a to b inclusive; ``a:b:xF``, each value F times the one before; ``a,b,c``, a list;
            or ``a;b``, a list of values that have commas themselves.
    Raises:
        ValueError: "sweep: beta must read a:b:step, a:b:xF or a,b,c, got '0:1'".
    """
    key = name.strip().replace("-", "_")
    if not key:
        raise ValueError(f"{op}: an option to sweep lacks its name, got values {text!r}")
    parts = [part.strip() for part in text.split(";" if ";" in text else ":" if ":" in text else ",")]
    parts = [part for part in parts if part]
    values = _range(key, text, parts, op) if ":" in text and ";" not in text else parts
    if not values:
        raise ValueError(f"{op}: {key} must read a:b:step, a:b:xF or a,b,c, got {text!r}")
    if len(set(values)) < len(values):
        raise ValueError(f"{op}: {key} names a value twice: {text!r}")
    return Axis(key, tuple(values))


def _range(key: str, text: str, parts: list[str], op: str) -> list[str]:
    """Decimal arithmetic: 0:1:0.1 ends at 1, and 0.3 reads 0.3."""
    try:
        if len(parts) != 3:
            raise InvalidOperation
        factor = parts[2].startswith("x")
        start, end, step = (Decimal(part.removeprefix("x")) for part in parts)
        if not all(number.is_finite() for number in (start, end, step)):
            raise InvalidOperation
    except InvalidOperation:
        raise ValueError(f"{op}: {key} must read a:b:step, a:b:xF or a,b,c, got {text!r}") from None
    if end < start or (factor and (start <= 0 or step <= 1)) or (not factor and step <= 0):
        wanted = "0 < a <= b and F above 1" if factor else "a <= b and a step above 0"
        raise ValueError(f"{op}: the range of {key} needs {wanted}, got {text!r}")
    values: list[str] = []
    at = start
    while at <= end:
        if len(values) == MOST:
            raise ValueError(f"{op}: {key} has more than {MOST} values, got {text!r}")
        values.append(_plain(at))
        at = at * step if factor else at + step
    return values


def _plain(number: Decimal) -> str:
    """0.1 for 0.10, 10 for 1E+1; very small or large numbers keep an exponent."""
    number = number.normalize()
    exponent = number.adjusted()
    return f"{number:f}" if number == 0 or -5 <= exponent <= 15 else f"{number:e}"
