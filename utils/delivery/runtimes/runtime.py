"""Defines the interface of all programs (runtimes) in which an export is tried.

A runtime gets samples and returns text and words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from utils.delivery.transcript import Word


@dataclass(frozen=True)
class Way:
    """One of the ways in which people use a runtime."""

    timestamps: bool = False  # decode with timestamp tokens; without: one text for each window
    words: bool = False  # also return the times of words
    previous_text: bool = False  # the text of a window is the prompt of the next

    def __str__(self) -> str:
        names = ("timestamps", "words", "previous_text")
        return " + ".join(name.replace("_", " ") for name in names if getattr(self, name)) or "plain"


@dataclass(frozen=True)
class Rendition:
    """The transcript that a runtime wrote for a recording."""

    text: str
    words: Sequence[Word] = ()


class Runtime(Protocol):
    """An exported model, loaded by the library for which it was made."""

    @property
    def ways(self) -> Sequence[Way]:
        """Return the ways that this runtime offers."""
        ...

    @property
    def finds_windows(self) -> bool:
        """Check whether the runtime cuts recordings at pauses, also without timestamps.

        If not, the windows of a recording follow each other every 30 s. Whisper ends its text at a long
        pause, so the rest of a window is lost, with any model.
        """
        ...

    def transcribe(self, samples: np.ndarray, language: str | None, way: Way) -> Rendition:
        """Transcribe a recording of any length, (samples,) float32 at 16 kHz.

        If the language is None, it is detected.
        """
        ...
