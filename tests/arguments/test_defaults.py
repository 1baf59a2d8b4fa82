"""Flags and their defaults, as fixtures/defaults.yaml has them: to change one changes what recipes mean."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from utils.arguments.app import AppArguments
from utils.arguments.evaluate import EvaluateArguments
from utils.arguments.export import ExportArguments
from utils.arguments.preprocess import PreprocessArguments
from utils.arguments.sweep import SweepArguments
from utils.arguments.train import TrainArguments
from utils.arguments.transcribe import TranscribeArguments

SCRIPTS = {
    "preprocess": PreprocessArguments,
    "train": TrainArguments,
    "evaluate": EvaluateArguments,
    "transcribe": TranscribeArguments,
    "export": ExportArguments,
    "app": AppArguments,
    "sweep": SweepArguments,
}
EXPECTED = yaml.safe_load((Path(__file__).parents[1] / "fixtures/defaults.yaml").read_text(encoding="utf-8"))


def default_of(field: dataclasses.Field) -> object:
    if field.default is not dataclasses.MISSING:
        return field.default
    return "required" if field.default_factory is dataclasses.MISSING else field.default_factory()


@pytest.mark.parametrize("script", SCRIPTS)
def test_flags_and_defaults_are_these(script):
    assert {field.name: default_of(field) for field in dataclasses.fields(SCRIPTS[script])} == EXPECTED[
        script
    ]
