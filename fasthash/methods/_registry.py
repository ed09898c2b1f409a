"""Names of methods, and how their options come together."""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from fasthash.methods._base import Method, Settings
from fasthash.methods._closed_form import ClosedForm

Kind = type[Method] | type[ClosedForm]
_METHODS: dict[str, Kind] = {}
M = TypeVar("M", bound=Kind)


@dataclass(frozen=True)
class MethodInfo:
    """What `names` tells of a method."""

    paper: str
    supervision: str  # none, labels, label tree
    options: dict[str, Any]  # name -> the paper's default
    presets: dict[str, str]  # data set -> source of its values


def register(cls: M) -> M:
    """Class decorator: make a method known under its ``name``."""
    _METHODS[cls.name] = cls
    return cls


def names() -> dict[str, MethodInfo]:
    """Every method with its paper, supervision, options and presets."""
    return {
        name: MethodInfo(
            cls.paper,
            cls.supervision,
            {key: field.default for key, field in cls.options_type.model_fields.items()},
            {data: preset.source for data, preset in cls.presets.items()},
        )
        for name, cls in sorted(_METHODS.items())
    }


def get(name: str) -> Kind:
    """The class of a method; ValueError lists the known ones."""
    if name not in _METHODS:
        raise ValueError(f"unknown method {name!r}; known: {', '.join(sorted(_METHODS))}")
    return _METHODS[name]


def options_from_text(method: Kind, texts: dict[str, str]) -> dict[str, Any]:
    """Options written as text in the form that `resolve_options` takes; unknown names pass, it refuses them itself.

    ``none`` is no value; options that hold several values take them with commas between.
    """
    fields = method.options_type.model_fields
    values: dict[str, Any] = {}
    for key, text in texts.items():
        if text.lower() == "none":
            values[key] = None
        elif key in fields and _takes_several(fields[key].annotation):
            values[key] = [part for part in text.split(",") if part]
        else:
            values[key] = text
    return values


def _takes_several(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if origin in (tuple, list):
        return True
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        return any(_takes_several(part) for part in typing.get_args(annotation))
    return False


def resolve_options(method: Kind, data_name: str, given: dict[str, Any]) -> Settings:
    """The paper's defaults, then the data set's preset, then what the caller gave.

    Raises:
        ValueError: one line naming the option, what was expected and what came.
    """
    known = method.options_type.model_fields
    for key in given:
        if key not in known:
            raise ValueError(f"{method.name}: unknown option {key!r}; known: {', '.join(known)}")
    preset = method.presets.get(data_name)
    try:
        return method.options_type(**({} if preset is None else preset.values) | given)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:  # options that do not go together
            raise ValueError(f"{method.name}: {first['msg'].removeprefix('Value error, ')}") from None
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{method.name}: option {where}: {first['msg']}, got {first['input']!r}") from None
