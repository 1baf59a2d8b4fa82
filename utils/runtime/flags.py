"""Flags: the fields of a record that the command line and recipes fill, with their help and bounds.

A record stands in the room that uses it; a script's arguments inherit all its records.
"""

import dataclasses
from typing import Any

from utils.runtime.resolved_arguments import default_of

_BOUNDS = {  # by keyword of `argument`: in words, and whether a value keeps to it
    "at_least": ("at least", lambda value, bound: value >= bound),
    "above": ("above", lambda value, bound: value > bound),
    "at_most": ("at most", lambda value, bound: value <= bound),
    "below": ("below", lambda value, bound: value < bound),
}


def argument(
    help: str, *, default: object = dataclasses.MISSING, advanced: bool = False, **bounds: float
) -> Any:
    """A dataclass field that is a flag.

    Typed like `dataclasses.field` for its caller: as whatever the field holds.

    Args:
        help: One sentence or more.
        default: A list is copied for each record; required if missing.
        advanced: Shown by `--help_all`, not by `--help`.
        bounds: `at_least`, `above`, `at_most` or `below`, of the value or of each item of a list.
    """
    assert bounds.keys() <= _BOUNDS.keys()
    metadata = {"help": help, "advanced": advanced, "bounds": bounds}
    if isinstance(default, list):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def share(help: str, *, default: float = 0.0, advanced: bool = False) -> float:
    """A flag that is a share or a probability."""
    return argument(help, default=default, advanced=advanced, at_least=0, at_most=1)


def bound_problems(record: Any) -> list[str]:
    """A sentence for every field that has a value outside its bounds; None is always inside."""
    found = []
    for field in dataclasses.fields(record):
        value, bounds = getattr(record, field.name), field.metadata.get("bounds", {})
        items = value if isinstance(value, list) else [] if value is None else [value]
        if not all(_BOUNDS[kind][1](item, bound) for item in items for kind, bound in bounds.items()):
            expected = " and ".join(f"{_BOUNDS[kind][0]} {bound:g}" for kind, bound in bounds.items())
            found.append(f"{field.name} {value}: expected {expected}.")
    return found


def changed_flags(record: Any, *names: str) -> list[str]:
    """Those of the named fields that do not have their default."""
    defaults = {field.name: default_of(field) for field in dataclasses.fields(record)}
    return [name for name in names if getattr(record, name) != defaults[name]]
