"""Restore records from the plain values of JSON files."""

import types
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")


def record_from(kind: type[Record], value: dict) -> Record:
    """Restore a record from the output of `dataclasses.asdict`. Ignore keys that are not fields.

    Raises:
        TypeError: A field without a default is missing.
    """
    return _restored(kind, value)


def _restored(kind: Any, value: Any) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if value is None:
        return None
    if origin in (Union, types.UnionType):
        return _restored(next(part for part in parts if part is not types.NoneType), value)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        known = {field.name for field in fields(kind)} & value.keys()
        return kind(**{name: _restored(hints[name], value[name]) for name in known})  # type: ignore[operator]
    if origin is dict:
        return {key: _restored(parts[1], item) for key, item in value.items()}
    made_as = {list: list, tuple: tuple, Sequence: list}.get(origin)
    return value if made_as is None else made_as(_restored(parts[0], item) for item in value)
