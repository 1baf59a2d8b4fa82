"""Names all sources that preprocess.py can read. To add a source, write its reader and add its name here."""

import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from utils.data.sources.hub_ids import FLEURS_ON_HUB, hub_advice
from utils.runtime.errors import UserError

if TYPE_CHECKING:
    from utils.data.utterance import Source

SOURCES = (
    "manifest", "folder", "hub", "audiofolder", "common_voice", "afrispeech", "fleurs", "ljspeech",
    "librispeech", "kaldi", "nemo", "lhotse", "asterisk",
)  # fmt: skip
"""Modules of this folder. Each has a function `read_<name>`. They are imported when they are needed."""

NOT_FILES = ("hub", "asterisk")  # their input is not a path, or they have none


def open_source(name: str, input: str | None, options: Mapping[str, object]) -> "Source":
    """Open a source and check that the data can be used, before anything is decoded.

    Args:
        name: One of `SOURCES`.
        input: The reader gets it as `path`, or as `name` if it may be something other than a file.
        options: Values by name. A reader gets those for which it has a parameter of the same name.

    Raises:
        UserError: There is no such data, none of it is usable, or its language is not known.
    """
    is_path = name not in NOT_FILES and (name, input) != ("fleurs", FLEURS_ON_HUB)
    if is_path and input and not Path(input).exists() and (advice := hub_advice(input)):
        raise UserError(f"{input}: no such file or folder.{advice}")
    read = getattr(importlib.import_module(f"utils.data.sources.{name}"), f"read_{name}")
    known = {**options, "path": Path(input or ""), "name": input}
    source = read(**{parameter: known[parameter] for parameter in inspect.signature(read).parameters})
    if options.get("language", "auto") is None:
        _check_language(source, str(input))
    return source


def _check_language(source: "Source", input: str) -> None:
    """Check that the first utterance has a language.

    Raises:
        UserError: It has none, so the user must give it.
    """
    from utils.data.utterance import Utterance

    first = next((item for item in source.items if isinstance(item, Utterance)), None)
    if first is not None and first.language is None:
        raise UserError(
            f"{input}: its utterances do not say their language (the first one is {first.source}, "
            f"{first.position}). Give the language that is spoken, such as --language it, or --language auto "
            "to leave it unknown."
        )
