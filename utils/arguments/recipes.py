"""Turn recipes (YAML) into command-line words, with checks of names and types."""

import dataclasses
import difflib
import types
import typing
from pathlib import Path
from typing import Literal

from utils.arguments.fields import ParsedArguments
from utils.runtime.errors import UserError
from utils.runtime.resolved_arguments import default_of, read_recipe


def recipe_as_words(path: Path, kind: type[ParsedArguments]) -> list[str]:
    """Turn a recipe into command-line words; check the name and type of each key."""
    types_of = typing.get_type_hints(kind)
    defaults = {f.name: default_of(f) for f in dataclasses.fields(kind)}
    words: list[str] = []
    for key, value in read_recipe(path).items():
        if key not in types_of:
            raise UserError(unknown_message(str(path), key, kind))
        if not _has_type(value, types_of[key]):
            raise UserError(f"{path}: {key}: found {value!r}, expected {_type_name(types_of[key])}.")
        if value == [] and defaults[key] != []:
            raise UserError(f"{path}: {key}: found an empty list, expected at least one value.")
        if value is not None and value != []:
            words += [f"--{key}", *(_as_words(value))]
    return words


def unknown_message(where: str, key: str, kind: type[ParsedArguments]) -> str:
    names = [f.name for f in dataclasses.fields(kind)]
    near = difflib.get_close_matches(key.lstrip("-").replace("-", "_"), names, n=1)
    dashes = "--" if key.startswith("-") else ""  # none in a recipe
    hint = f" Did you mean {dashes + near[0]!r}?" if near else " --help_all lists every argument."
    return f"{where}: unknown argument {key!r}.{hint}"


def _has_type(value: object, expected: object) -> bool:
    """Check whether a YAML value has an annotated type. An int may be a float; a bool is only a bool."""
    origin = typing.get_origin(expected)
    if origin in (types.UnionType, typing.Union):
        return any(_has_type(value, option) for option in typing.get_args(expected))
    if origin is Literal:
        return value in typing.get_args(expected)
    if origin is list:
        return isinstance(value, list) and all(
            _has_type(item, typing.get_args(expected)[0]) for item in value
        )
    if expected is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if expected is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, expected)  # type: ignore[arg-type]


def _type_name(expected: object) -> str:
    origin = typing.get_origin(expected)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_type_name(option) for option in typing.get_args(expected))
    if origin is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(expected)))
    if origin is list:
        return f"a list of {_type_name(typing.get_args(expected)[0])}"
    names = {
        str: "text",
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        type(None): "nothing",
    }
    return names.get(expected, str(expected))  # type: ignore[call-overload]


def _as_words(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]
