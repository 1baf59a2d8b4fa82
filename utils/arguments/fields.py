"""Fields of a script's arguments, and what all scripts check of theirs."""

import dataclasses
import difflib
import json
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

Arguments = TypeVar("Arguments", bound="ScriptArguments")


def argument(help: str, **options) -> typing.Any:
    """A dataclass field with its help text; a list default is wrapped in a factory.

    Typed like `dataclasses.field` for its caller: as whatever the field holds.
    """
    default = options.pop("default", dataclasses.MISSING)
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": help}, **options)
    return field(default=default, metadata={"help": help}, **options)


@dataclass(frozen=True, kw_only=True)
class ScriptArguments:
    """What every script has; a subclass adds its own fields and checks them in `problems`."""

    output_dir: str = argument("Folder that receives the result and the resolved arguments.")
    seed: int = argument("Seed of everything drawn at random.", default=42)

    def problems(self) -> list[str]:
        """Say what is wrong with the values taken together, a sentence each; empty when all is well."""
        return []


def dtype_problems(names: list[str]) -> list[str]:
    """A sentence where precisions to measure are none or unknown."""
    if names and set(names) <= {"float32", "bfloat16"}:
        return []
    return [f"dtypes {' '.join(names)}: expected float32, bfloat16 or both."]


def at_least(arguments: ScriptArguments, minimum: float, *names: str) -> list[str]:
    """A sentence for every named value below `minimum`; what is not given is None, and right."""
    values = {name: getattr(arguments, name) for name in names}
    return [
        f"{name} {value}: expected at least {minimum}."
        for name, value in values.items()
        if value is not None and value < minimum
    ]


def hub_id_problems(name: str, value: str | None) -> list[str]:
    """A sentence unless the value of argument `name` is a possible `user/name` on the Hub."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if value is None:
        return [f"push_to_hub needs --{name}: user/name, where the user is you or an organisation of yours."]
    try:
        validate_repo_id(value)
    except HFValidationError:
        pass
    else:
        if "/" in value:
            return []
    return [f"{name} {value!r}: expected user/name of letters, digits, -, _ and . alone, at most 96."]


def language_problems(language: str, *models: str) -> list[str]:
    """A sentence if Whisper does not know the language by this code; names (italian) count as unknown.

    A language that one of the models, a local folder, was given a token for is known.
    """
    from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

    if language == "auto" or language in LANGUAGES or any(_has_token(model, language) for model in models):
        return []
    if language.lower() in TO_LANGUAGE_CODE:
        return [f"language {language!r}: give the code {TO_LANGUAGE_CODE[language.lower()]!r}."]
    near = difflib.get_close_matches(language.lower(), [*LANGUAGES, *TO_LANGUAGE_CODE], n=1)
    hint = f" Did you mean {TO_LANGUAGE_CODE.get(near[0], near[0])!r}?" if near else ""
    return [
        f"language {language!r}: Whisper has no such language.{hint} Expected a code such as it, en or fa."
    ]


def _has_token(model: str, language: str) -> bool:
    try:
        config = json.loads((Path(model) / "generation_config.json").read_text(encoding="utf-8"))
        return f"<|{language}|>" in config["lang_to_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
