"""Sources by name: the readers are there, and take what preprocess.py can be told."""

import dataclasses
import importlib
import inspect

import pytest

from utils.arguments.preprocess import PreprocessArguments
from utils.data.sources.registry import SOURCES, open_source
from utils.data.utterance import Source
from utils.runtime.errors import UserError


@pytest.mark.parametrize("name", SOURCES)
def test_a_reader_takes_arguments_of_the_script_by_their_names(name):
    read = getattr(importlib.import_module(f"utils.data.sources.{name}"), f"read_{name}")
    known = {field.name for field in dataclasses.fields(PreprocessArguments)}
    assert set(inspect.signature(read).parameters) <= known | {"path", "name", "local_cache"}
    assert inspect.signature(read, eval_str=True).return_annotation is Source


def test_options_reach_the_reader_and_others_do_not(tmp_path):
    (tmp_path / "metadata.csv").write_text("file_name,words,text\na.wav,ciao,other\n")
    (tmp_path / "a.wav").write_bytes(b"")
    options = {"text_column_name": "words", "language": "it", "tier": None}
    (found,) = open_source("audiofolder", str(tmp_path), options).items
    assert found.text == "ciao"
    with pytest.raises(UserError, match="no such file or folder"):
        open_source("audiofolder", str(tmp_path / "no"), options)
