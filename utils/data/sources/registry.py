"""Names all sources that preprocess.py can read. To add a source, write its reader and add its name here."""

import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from utils.data.utterance import Source

SOURCES = (
    "manifest", "folder", "hub", "audiofolder", "common_voice", "afrispeech", "fleurs", "ljspeech",
    "librispeech", "kaldi", "nemo", "lhotse", "asterisk",
)  # fmt: skip
"""Modules of this folder. Each has a function `read_<name>`. They are imported when they are needed."""


def open_source(name: str, input: str | None, options: Mapping[str, object]) -> "Source":
    """Open a source and check that the data can be used, before anything is decoded.

    Args:
        name: One of `SOURCES`.
        input: The reader gets it as `path`, or as `name` if it may be something other than a file.
        options: Values by name. A reader gets those for which it has a parameter of the same name.

    Raises:
        UserError: There is no such data, or none of it is usable.
    """
    read = getattr(importlib.import_module(f"utils.data.sources.{name}"), f"read_{name}")
    known = {**options, "path": Path(input or ""), "name": input}
    return read(**{parameter: known[parameter] for parameter in inspect.signature(read).parameters})
