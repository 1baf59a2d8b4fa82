"""Defines the interface of all export formats.

A format gets a loaded model and writes a folder for another program.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.model.loading import LoadedModel, load_model, read_training_arguments
from utils.model.resolving import resolve_model
from utils.model.saving import local_folder


@dataclass(frozen=True)
class ExportSource:
    """The model to export."""

    name: str  # as the user gave it
    folder: Path  # with its files; of an adapter, those of the adapter alone
    loaded: LoadedModel  # float32 on the CPU, an adapter merged
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of the training; empty for other models

    @property
    def task(self) -> str:
        return self.arguments.get("task", "transcribe")


def load_export_source(name_or_path: str) -> ExportSource:
    """Load the model to export.

    Raises:
        UserError: There is no loadable model.
    """
    folder = local_folder(resolve_model(name_or_path))
    return ExportSource(name_or_path, folder, load_model(name_or_path), read_training_arguments(str(folder)))


@dataclass(frozen=True)
class ExportFormat:
    """How to write a model for another program (runtime), and which models that program accepts."""

    precisions: Sequence[str]  # the first is the default
    packages: Sequence[str]  # names to import, of requirements-export.txt; checked before any work
    # (model, precision) -> what the format cannot hold, each with what to do; empty if it can hold all
    find_problems: Callable[[ExportSource, str], list[str]]
    # (model, folder, precision): write all files into an existing, empty folder -> what its users must know
    write: Callable[[ExportSource, Path, str], list[str]]
