"""Build the command line and the help of a record of flags, in groups."""

import argparse
import dataclasses
import types
import typing
from typing import Any, Literal

from utils.arguments.fields import ParsedArguments
from utils.runtime.errors import UserError
from utils.runtime.resolved_arguments import default_of

COLUMNS = 100
METAVARS = {str: "NAME", int: "N", float: "X"}


class StrictParser(argparse.ArgumentParser):
    """Raises a `UserError` instead of exiting."""

    def error(self, message: str) -> typing.NoReturn:
        raise UserError(message)


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Shows lists as `X ...`, and switches without a value."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=35, width=COLUMNS)

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        if action.nargs in ("?", "+"):
            return "" if action.nargs == "?" else f"{action.metavar} ..."
        return super()._format_args(action, default_metavar)


def build_parser(
    kind: type[ParsedArguments], description: str | None, *, show_all: bool
) -> argparse.ArgumentParser:
    """Build a parser of all flags of a script.

    Args:
        kind: The script's arguments.
        description: Text above the flags.
        show_all: Show advanced flags too.
    """
    fields, types_of, titles = dataclasses.fields(kind), typing.get_type_hints(kind), _group_names(kind)
    required = [f"--{field.name} ..." for field in fields if _is_required(field)]
    required += ["FILE ..."] if kind.positional else []
    parser = StrictParser(
        usage=" ".join(["%(prog)s", *required, "[options]"]),
        description=description,
        allow_abbrev=False,
        add_help=False,
        formatter_class=_HelpFormatter,
    )
    start = parser.add_argument_group("help and recipes")
    start.add_argument("-h", "--help", action="help", help="Show the common arguments.")
    start.add_argument("--help_all", action="help", help=f"Show all {len(fields)} arguments.")
    start.add_argument(
        "--config", metavar="RECIPE.yaml", help="Read arguments from a recipe. The command line overrides it."
    )
    groups = {title: parser.add_argument_group(title) for title in dict.fromkeys(titles.values())}
    for field in fields:
        is_shown = show_all or not field.metadata["advanced"]
        _add_flag(groups[titles[field.name]], field, types_of[field.name], is_shown)
    return parser


def _group_names(kind: type) -> dict[str, str]:
    """Return the group name of each flag, in the order of the flags."""
    names = {field.name for field in dataclasses.fields(kind)}
    return {
        name: group.group_name  # type: ignore[attr-defined]
        for group in reversed(kind.__mro__)
        for name in vars(group).get("__annotations__", ())
        if name in names
    }


def _is_required(field: dataclasses.Field) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def _add_flag(group: Any, field: dataclasses.Field, annotation: Any, is_shown: bool) -> None:
    """Add `--name`. A switch also accepts true or false, and has `--no_name` if it is on by default."""
    (value_type,) = [option for option in _options(annotation) if option is not type(None)]
    words: dict[str, Any] = {"required": True} if _is_required(field) else {"default": default_of(field)}
    if typing.get_origin(value_type) is list:
        (value_type,) = typing.get_args(value_type)
        words["nargs"] = "+"
    choices = typing.get_args(value_type) if typing.get_origin(value_type) is Literal else None
    if value_type is bool:
        words |= {"type": _true_or_false, "nargs": "?", "const": True}
    elif choices:
        words |= {"choices": choices, "metavar": "NAME"}
    else:
        words |= {"type": value_type, "metavar": METAVARS[value_type]}
    group.add_argument(
        f"--{field.name}", help=_help(field, choices) if is_shown else argparse.SUPPRESS, **words
    )
    if value_type is bool and field.default is True:
        group.add_argument(
            f"--no_{field.name}", dest=field.name, action="store_false", help=argparse.SUPPRESS
        )


def _options(annotation: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(annotation) in (types.UnionType, typing.Union)
    return typing.get_args(annotation) if is_union else (annotation,)


def _help(field: dataclasses.Field, choices: tuple[str, ...] | None) -> str:
    """Return the field's help text, its choices and its default."""
    notes = [f"one of {', '.join(choices)}"] if choices else []
    default = default_of(field)
    if default is True:
        notes.append(f"on by default; --no_{field.name} turns it off")
    elif default is not None and default is not False and default != []:
        values = default if isinstance(default, list) else [default]
        notes.append("default: " + " ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values))
    text = field.metadata["help"] + (" [required]" if _is_required(field) else "")
    return (f"{text} ({'; '.join(notes)})" if notes else text).replace("%", "%%")


def _true_or_false(word: str) -> bool:
    values = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if word.lower() not in values:
        raise argparse.ArgumentTypeError(f"found {word!r}, expected true or false")
    return values[word.lower()]
