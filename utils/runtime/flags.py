"""Flags: fields of a record with help and bounds, set by the command line and recipes.

A record is defined in the package that uses it. The arguments of a script inherit all its records.
"""

import dataclasses
from typing import Any

from utils.runtime.resolved_arguments import default_of

_BOUNDS = {  # by keyword of `argument`: its words, and the check of a value
    "at_least": ("at least", lambda value, bound: value >= bound),
    "above": ("above", lambda value, bound: value > bound),
    "at_most": ("at most", lambda value, bound: value <= bound),
    "below": ("below", lambda value, bound: value < bound),
}


def argument(
    help: str, *, default: object = dataclasses.MISSING, advanced: bool = False, **bounds: float
) -> Any:
    """Return a dataclass field that is a flag.

    The return type is `Any`, as in `dataclasses.field`, so that a field may have any type.

    Args:
        help: One sentence or more.
        default: The default value. If it is a list, each record gets its own copy. A flag without a default
            is required.
        advanced: Show the flag in `--help_all` only.
        bounds: `at_least`, `above`, `at_most` or `below`. They apply to the value, or to each item of a list.
    """
    assert bounds.keys() <= _BOUNDS.keys()
    metadata = {"help": help, "advanced": advanced, "bounds": bounds}
    if isinstance(default, list):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def share(help: str, *, default: float = 0.0, advanced: bool = False) -> float:
    """Return a flag for a share or a probability, from 0 to 1."""
    return argument(help, default=default, advanced=advanced, at_least=0, at_most=1)


def bound_problems(record: Any) -> list[str]:
    """Return a sentence for each field whose value is outside its bounds. None is always allowed."""
    found = []
    for field in dataclasses.fields(record):
        value, bounds = getattr(record, field.name), field.metadata.get("bounds", {})
        items = value if isinstance(value, list) else [] if value is None else [value]
        if not all(_BOUNDS[kind][1](item, bound) for item in items for kind, bound in bounds.items()):
            expected = " and ".join(f"{_BOUNDS[kind][0]} {bound:g}" for kind, bound in bounds.items())
            found.append(f"{field.name} {value}: expected {expected}.")
    return found


def changed_flags(record: Any, *names: str) -> list[str]:
    """Return the names of those fields that differ from their defaults."""
    defaults = {field.name: default_of(field) for field in dataclasses.fields(record)}
    return [name for name in names if getattr(record, name) != defaults[name]]
