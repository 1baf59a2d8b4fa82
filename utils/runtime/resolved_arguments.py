"""Read recipes strictly, write resolved arguments as YAML, and compare them."""

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from utils.runtime.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def _with_exponents(resolvers: dict[str, list[tuple[str, re.Pattern[str]]]]) -> dict[str, list]:
    """Add the numbers of YAML 1.2 (1e-5, 1.5e3) to PyYAML's rules.

    PyYAML sorts its rules by first character.
    """
    number = ("tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"))
    return {**resolvers, **{first: [number, *resolvers.get(first, [])] for first in "-+0123456789"}}


class _RecipeLoader(yaml.SafeLoader):
    """Reads 1e-5 and 1.5e3 as numbers, as in YAML 1.2. PyYAML follows YAML 1.1, where they are text."""

    yaml_implicit_resolvers = _with_exponents(yaml.SafeLoader.yaml_implicit_resolvers)


class _RecipeDumper(yaml.SafeDumper):
    """Quotes texts that `_RecipeLoader` would read as numbers, such as a folder named 12e4."""

    yaml_implicit_resolvers = _with_exponents(yaml.SafeDumper.yaml_implicit_resolvers)


def read_recipe(path: Path) -> dict[str, object]:
    try:
        recipe = yaml.load(path.read_text(encoding="utf-8"), _RecipeLoader)
    except FileNotFoundError:
        raise UserError(f"{path}: no such recipe. recipes/README.md lists the recipes.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not readable as YAML: {error}") from None
    if recipe is None:
        return {}
    if not isinstance(recipe, dict):
        raise UserError(f"{path}: found a {type(recipe).__name__}, expected `key: value` lines.")
    return {str(key): value for key, value in recipe.items()}


def arguments_as_yaml(arguments: "DataclassInstance") -> str:
    """Return the resolved arguments as a YAML recipe that gives the same arguments."""
    return values_as_yaml(dataclasses.asdict(arguments))


def values_as_yaml(values: dict[str, object]) -> str:
    """Return values as a YAML recipe that `read_recipe` reads back."""
    return yaml.dump(values, Dumper=_RecipeDumper, sort_keys=False, allow_unicode=True)


def differing_arguments(
    arguments: "DataclassInstance", path: Path, *, ignored: tuple[str, ...] = ("output_dir",)
) -> list[str]:
    """Compare the resolved arguments of this run with those that an earlier run wrote beside its result.

    Args:
        arguments: The arguments of this run.
        path: YAML written by `arguments_as_yaml`. A file of an older version may lack an argument; then the
            default is compared.
        ignored: Arguments that do not change the result, such as the output folder.

    Returns:
        One entry for each argument that differs: `language: it there, en now`.

    Raises:
        UserError: The file is missing, or is not a YAML file of arguments.
    """
    if not path.is_file():
        raise UserError(f"{path}: missing, so the arguments of the result beside it are unknown.")
    earlier = read_recipe(path)
    found = []
    for field_ in dataclasses.fields(arguments):
        if field_.name in ignored:
            continue
        now = getattr(arguments, field_.name)
        there = earlier.get(field_.name, default_of(field_))
        if there != now:
            found.append(f"{field_.name}: {_shown(there)} there, {_shown(now)} now")
    return found


def default_of(field_: dataclasses.Field) -> object:
    if field_.default_factory is not dataclasses.MISSING:
        return field_.default_factory()
    return None if field_.default is dataclasses.MISSING else field_.default


def _shown(value: object) -> str:
    return "none" if value is None else str(value)
