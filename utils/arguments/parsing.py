"""One strict way in for recipes and the command line."""

import argparse
import dataclasses
import sys
import typing
from pathlib import Path

from utils.arguments.fields import Arguments, ScriptArguments, at_least
from utils.arguments.recipes import recipe_as_words, unknown_message
from utils.runtime.errors import UserError


class _StrictParser(argparse.ArgumentParser):
    """Raises instead of exiting, so that the caller can say which file or word was wrong."""

    def error(self, message: str) -> typing.NoReturn:
        raise UserError(message)


def parse_arguments(
    kind: type[Arguments], argv: list[str] | None = None, description: str | None = None
) -> Arguments:
    """Read `--config RECIPE.yaml` and the command line into a checked `kind`.

    Args:
        kind: One of the dataclasses above.
        argv: Command-line words without the program's name; `sys.argv[1:]` when not given.
        description: Shown by `--help`; the calling script's docstring.

    Raises:
        UserError: An unknown key or option, a value of the wrong type, a missing value, or values that
            contradict each other. All contradictions are reported at once.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _build_parser(kind, description)
    config, words = _take_config(words)
    recipe_words = [] if config is None else recipe_as_words(Path(config), kind)
    arguments, unknown = _parse_known(parser, recipe_words + words, kind)
    if unknown:
        raise UserError(unknown_message("the command line", unknown[0].split("=")[0], kind))
    problems = at_least(arguments, 0, "seed") + arguments.problems()
    if problems:
        raise UserError("\n       ".join(problems))
    return arguments


def _build_parser(kind: type[ScriptArguments], description: str | None) -> argparse.ArgumentParser:
    from transformers.hf_argparser import HfArgumentParser

    class Parser(HfArgumentParser, _StrictParser):
        error = _StrictParser.error

    parser = Parser(
        kind,  # type: ignore[arg-type]
        description=description,
        allow_abbrev=False,
        formatter_class=type(
            "Formatter", (argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter), {}
        ),
    )
    parser.add_argument(
        "--config",
        metavar="RECIPE.yaml",
        help="Recipe that fills these arguments; the command line overrides it.",
    )
    return parser


def _take_config(words: list[str]) -> tuple[str | None, list[str]]:
    """Split `--config FILE` off the other words."""
    finder = _StrictParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    namespace, rest = finder.parse_known_args(words)
    return namespace.config, rest


def _parse_known(
    parser: argparse.ArgumentParser, words: list[str], kind: type[Arguments]
) -> tuple[Arguments, list[str]]:
    namespace, unknown = parser.parse_known_args(words)
    values = {f.name: getattr(namespace, f.name) for f in dataclasses.fields(kind)}
    return kind(**values), unknown
