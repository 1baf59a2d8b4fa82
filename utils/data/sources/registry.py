"""Every source that preprocess.py reads, by its name. To add one, write its reader and a line here."""

import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from utils.data.utterance import Source

SOURCES = {
    "manifest": "manifest.read_manifest",
    "folder": "folder.read_folder",
    "hub": "hub.read_hub",
    "audiofolder": "audiofolder.read_audiofolder",
    "common_voice": "common_voice.read_common_voice",
    "afrispeech": "afrispeech.read_afrispeech",
    "fleurs": "fleurs.read_fleurs",
    "ljspeech": "ljspeech.read_ljspeech",
    "librispeech": "librispeech.read_librispeech",
    "kaldi": "kaldi.read_kaldi",
    "nemo": "nemo.read_nemo",
    "lhotse": "lhotse.read_lhotse",
    "asterisk": "asterisk.read_asterisk",
}
"""Module in this folder and function in it; imported when it is used."""


def open_source(name: str, input: str | None, options: Mapping[str, object]) -> "Source":
    """Find the data and check that it can be used at all, before anything is decoded.

    Args:
        name: A key of `SOURCES`.
        input: What the reader gets, as its `path`, or as its `name` where it need not be a file.
        options: Values by name; a reader gets those that its parameters are called after.

    Raises:
        UserError: There is no such data, or nothing usable in it.
    """
    module, function = SOURCES[name].split(".")
    read = getattr(importlib.import_module(f"utils.data.sources.{module}"), function)
    known = {**options, "path": Path(input or ""), "name": input}
    return read(**{parameter: known[parameter] for parameter in inspect.signature(read).parameters})
