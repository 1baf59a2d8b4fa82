"""Parse recipes and the command line strictly."""

import dataclasses
import math
import sys
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

from utils.arguments.command_line import StrictParser, build_parser
from utils.arguments.fields import Arguments, ParsedArguments
from utils.arguments.recipes import recipe_as_words, unknown_message
from utils.runtime.errors import UserError
from utils.runtime.flags import bound_problems


def parse_arguments(
    kind: type[Arguments], argv: list[str] | None = None, description: str | None = None
) -> Arguments:
    """Read `--config RECIPE.yaml` and the command line into a checked record.

    Args:
        kind: The record type of a script's arguments.
        argv: Command-line words without the program's name; `sys.argv[1:]` if None.
        description: Text of `--help`, usually the script's docstring.

    Raises:
        UserError: There is an unknown key or option, a value of the wrong type, a missing value, or a
            contradiction. All contradictions are reported at once.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser(kind, description, show_all="--help_all" in words)
    config, words = _take_config(words)
    recipe_words = [] if config is None else recipe_as_words(Path(config), kind)
    words, bare = (words, []) if kind.positional is None else _take_bare_words(words, kind)
    namespace, unknown = parser.parse_known_args(recipe_words + words)
    if unknown:
        raise UserError(unknown_message("the command line", unknown[0].split("=")[0], kind))
    if bare:
        setattr(namespace, str(kind.positional), bare)
    arguments = kind(**{field.name: getattr(namespace, field.name) for field in dataclasses.fields(kind)})
    if problems := bound_problems(arguments) + _group_problems(arguments):
        raise UserError("\n       ".join(problems))
    return arguments


def _take_config(words: list[str]) -> tuple[str | None, list[str]]:
    """Separate `--config FILE` from the other words."""
    finder = StrictParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    namespace, rest = finder.parse_known_args(words)
    return namespace.config, rest


def _take_bare_words(words: list[str], kind: type[ParsedArguments]) -> tuple[list[str], list[str]]:
    """Separate the words that are neither a flag nor the value of one.

    argparse would take all words of `--format srt vtt talk.mp3` as formats. Here, a list of choices ends with
    the first word that is none.
    """
    types_of, kept, bare = get_type_hints(kind), list[str](), list[str]()
    room, choices = 0.0, ()
    for word in words:
        if word == f"--{kind.positional}":  # says what holds without it
            room = 0.0
        elif word.startswith("-") and word != "-" and not word[1].isdigit():
            kind_of_value = types_of.get(word[2:], str)
            is_list = get_origin(kind_of_value) is list
            choices = get_args(get_args(kind_of_value)[0]) if is_list else ()
            room = 0.0 if "=" in word else math.inf if is_list else 1.0
            kept.append(word)
        elif room and (kept[-1].startswith("--") or not choices or word in choices):
            room -= 1
            kept.append(word)
        else:
            room = 0.0
            bare.append(word)
    return kept, bare


def _group_problems(arguments: ParsedArguments) -> list[str]:
    """Return the problems that each group of flags finds in the combination of its values."""
    checks = [vars(group)["problems"] for group in type(arguments).__mro__ if "problems" in vars(group)]
    return [problem for check in reversed(checks) for problem in check(arguments)]
