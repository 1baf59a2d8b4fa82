"""Defines the interface of all export formats.

A format gets a loaded model and writes a folder for another program.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.model.loading import LoadedModel


@dataclass(frozen=True)
class ExportFormat:
    """How to write a model for another program (runtime), and which models that program accepts."""

    precisions: Sequence[str]  # the first is the default
    packages: Sequence[str]  # names to import, of requirements-export.txt; checked before any work
    # (model, precision) -> what the format cannot hold, each with what to do; empty if it can hold all
    find_problems: Callable[[LoadedModel, str], list[str]]
    # (model, folder, precision): write all files into an existing, empty folder
    write: Callable[[LoadedModel, Path, str], None]
