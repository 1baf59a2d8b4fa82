"""The arguments that all scripts share, and common checks."""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from utils.runtime.errors import UserError
from utils.runtime.flags import argument
from utils.text.languages import nearest_language, whisper_language
from utils.text.terms import read_terms

Arguments = TypeVar("Arguments", bound="ParsedArguments")

Normalizer = Literal["basic", "english", "script-safe"]

TRACKERS = {  # by import name: what to install
    "tensorboard": "tensorboard==2.21.0",
    "trackio": "trackio==0.43.0",
    "wandb": "wandb",
    "mlflow": "mlflow",
}

NORMALIZATION = (
    "Normaliser of texts: basic ignores case and punctuation, english also spelling variants; "
    "script-safe is basic for Hindi, Thai and others."
)

GENERATION_LIMIT = "Largest number of tokens of a transcript, with its prompt."


@dataclass(frozen=True, kw_only=True)
class ParsedArguments:
    """A record that the command line fills. A script adds groups of flags; each may define `problems`."""

    positional: ClassVar[str | None] = None  # the list that words without a flag belong to


@dataclass(frozen=True, kw_only=True)
class ScriptArguments(ParsedArguments):
    """The arguments of every script that writes a result."""

    group_name: ClassVar = "output"

    output_dir: str = argument("Folder for the results.")
    seed: int = argument("Seed of all random choices.", default=42, advanced=True, at_least=0)


def hub_id_problems(name: str, value: str | None) -> list[str]:
    """Return a sentence if the value of argument `name` is no valid `user/name` on the Hub."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if value is None:
        return [f"push_to_hub needs --{name}: user/name, with your user name or that of your organisation."]
    try:
        validate_repo_id(value)
    except HFValidationError:
        pass
    else:
        if "/" in value:
            return []
    return [f"{name} {value!r}: expected user/name, with only letters, digits, -, _ and ., at most 96."]


def language_problems(language: str, *models: str) -> list[str]:
    """Return a sentence if the language is not a code that Whisper knows. A name (italian) is not a code.

    A code is also known if one of the models is a local folder with a token for it.
    """
    known = whisper_language(language)
    if language == "auto" or language == known or any(_has_token(model, language) for model in models):
        return []
    if known:
        return [f"language {language!r}: expected the code {known!r}."]
    near = nearest_language(language)
    hint = f" Did you mean {near!r}?" if near else ""
    return [f"language {language!r}: Whisper has no such language.{hint} Expected a code such as it or fa."]


def _has_token(model: str, language: str) -> bool:
    try:
        config = json.loads((Path(model) / "generation_config.json").read_text(encoding="utf-8"))
        return f"<|{language}|>" in config["lang_to_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def term_list_problems(*files: str | None) -> list[str]:
    """Return a sentence for each list of names and terms that cannot be used."""
    found = []
    for file in filter(None, files):
        try:
            read_terms(Path(file))
        except UserError as error:
            found.append(str(error))
    return found


def tracker_problems(names: list[str]) -> list[str]:
    """Return a sentence for each tracker that is unknown or not installed."""
    found = []
    for name in names:
        if name not in (*TRACKERS, "none"):
            found.append(f"report_to {name}: expected {', '.join(TRACKERS)} or none.")
        elif name != "none" and importlib.util.find_spec(name) is None:
            found.append(f"report_to {name}: not installed. Run: pip install {TRACKERS[name]}")
    if "none" in names and len(names) > 1:
        found.append(f"report_to {' '.join(names)}: expected either none, or trackers.")
    return found
