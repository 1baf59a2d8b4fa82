"""What a model and its export transcribe, with what is said there and when."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.audio.flac import SAMPLE_RATE


@dataclass(frozen=True)
class JoinedClip:
    """A clip within a recording, and the time of its sound, in seconds of the recording."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class ParitySound:
    """A clip, or a recording that was joined from clips."""

    name: str
    samples: np.ndarray  # (samples,) float32 at 16 kHz
    language: str | None
    pieces: Sequence[JoinedClip]  # of a clip: only itself

    @property
    def duration(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    @property
    def text(self) -> str:
        return " ".join(piece.text for piece in self.pieces)

    @property
    def is_recording(self) -> bool:
        return len(self.pieces) > 1
