"""``name[option=value,...]``: how a comparison names a method or a data set, in a plan and on a command line.

A part without an equals sign belongs to the value before it: ``dcmh[text_hidden=1024,512,epochs=60]`` has two hidden
layers. ``none`` is no value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from fasthash import methods

VALIDATION = "validation"  # option of any data set: the share of its training rows that queries are drawn from
DATABASE = "database"  # option of any method that learns codes in training: what stands for training pairs, see `Row`
_ITEM = re.compile(r"\s*([^\[\]\s,=]+)\s*(?:\[([^\[\]]*)\])?\s*")


@dataclass(frozen=True)
class Item:
    """A name and its options as they were written."""

    name: str
    options: dict[str, str]

    @property
    def text(self) -> str:
        """The shortest writing of it."""
        inner = ",".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.name}[{inner}]" if inner else self.name

    def without(self, key: str) -> Item:
        """It less an option."""
        return Item(self.name, {name: value for name, value in self.options.items() if name != key})


def parse_item(text: str, what: str) -> Item:
    """ValueError, starting with ``what``, unless text reads ``name`` or ``name[option=value,...]``."""
    match = _ITEM.fullmatch(text)
    if not match:
        raise ValueError(f"{what} must read name or name[option=value,...], got {text!r}")
    name, inner = match[1], match[2]
    options: dict[str, str] = {}
    key = ""
    for part in inner.split(",") if inner else []:
        left, equals, right = part.partition("=")
        if equals:
            key = left.strip().replace("-", "_")
            if not key or key in options:
                raise ValueError(
                    f"{what} {text!r}: " + (f"option {key} is given twice" if key else "an option lacks its name")
                )
            options[key] = right.strip()
        elif key and part.strip():
            options[key] += "," + part.strip()
        else:
            raise ValueError(f"{what} {text!r}: expected option=value, got {part!r}")
    return Item(name, options)


def method_options(item: Item) -> dict[str, Any]:
    """The options in the form that `methods.resolve_options` takes; unknown names pass, it refuses them itself."""
    return methods.options_from_text(methods.get(item.name), item.options)


def numbers(item: Item) -> dict[str, Any]:
    """The options with numbers where they read as numbers: what data sets and baselines take."""
    return {key: _number(text) for key, text in item.options.items()}


def _number(text: str) -> Any:
    if text.lower() == "none":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
