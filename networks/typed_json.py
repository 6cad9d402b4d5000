"""Dataclasses from JSON: the way back from ``json.dumps(dataclasses.asdict(...))``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def read_dataclass(cls: type[T], content: object, name: str = "it") -> T:
    """An instance of the dataclass ``cls`` from an object of JSON, which ``name`` stands for in messages.

    Fields are numbers, texts, dataclasses, or tuples and mappings of these; X | None may be null. Entries that are no
    field are left out, and a field with a default may be missing. Raises ValueError, with the entry and its value,
    where a field is missing, has another type or is not finite, or where ``cls`` refuses it.
    """
    if not isinstance(content, dict):
        raise ValueError(f"{name} is {content!r}, not an object")
    hints = get_type_hints(cls)
    found = {}
    for field in fields(cls):  # type: ignore[arg-type]  # T is a dataclass
        if field.name in content:
            found[field.name] = _typed(hints[field.name], content[field.name], field.name)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{name} has no entry '{field.name}'")
    return cls(**found)


def _typed(kind: Any, value: Any, name: str) -> Any:
    """``value`` as a ``kind``, a type of a dataclass's field."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is UnionType:  # X | None
        return None if value is None else _typed(parts[0], value, name)
    if isinstance(kind, type) and is_dataclass(kind):
        return read_dataclass(kind, value, name)
    if origin is Mapping and isinstance(value, dict):
        return {key: _typed(parts[1], one, f"{name}.{key}") for key, one in value.items()}
    if origin is tuple and isinstance(value, list):
        kinds = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        if len(kinds) == len(value):
            return tuple(_typed(one, item, name) for one, item in zip(kinds, value, strict=True))
    if kind is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    raise ValueError(f"{name} is {value!r}, not {inspect.formatannotation(kind)}")
