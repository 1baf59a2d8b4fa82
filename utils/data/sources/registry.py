"""Every source that preprocess.py reads, by its name. To add one, write its reader and its name here."""

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
"""Modules of this folder, each with a function `read_<name>`; imported when it is used."""


def open_source(name: str, input: str | None, options: Mapping[str, object]) -> "Source":
    """Find the data and check that it can be used at all, before anything is decoded.

    Args:
        name: One of `SOURCES`.
        input: What the reader gets, as its `path`, or as its `name` where it need not be a file.
        options: Values by name; a reader gets those that its parameters are called after.

    Raises:
        UserError: There is no such data, or nothing usable in it.
    """
    read = getattr(importlib.import_module(f"utils.data.sources.{name}"), f"read_{name}")
    known = {**options, "path": Path(input or ""), "name": input}
    return read(**{parameter: known[parameter] for parameter in inspect.signature(read).parameters})
