"""In place of a decoder: texts written beforehand for each window, and a note of all that was asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from utils.audio.flac import SAMPLE_RATE
from utils.audio.voice_activity import SpeechSpan
from utils.delivery.transcribing import LoadedRecording
from utils.evaluation.backends.transcriber import BackendOptions
from utils.model.decoding import DecodedClips
from utils.model.loading import LoadedModel


@dataclass(frozen=True)
class Asked:
    """A call of the decoder; windows by their marks."""

    marks: list[int]
    languages: list[str | None]
    contexts: list[float]
    previous: list[int]
    temperature: float


Script = Callable[[int, Asked], tuple[str, str | None]]
"""The text and the language of the window with a mark."""


@dataclass
class ScriptedTranscriber:
    """A `Transcriber` whose words are scripted; their times come from the model as ever."""

    loaded: LoadedModel
    script: Script
    most_clips: int | None = None  # at once; more are too many for memory
    asked: list[Asked] = field(default_factory=list)
    takes_dynamic_context: bool = True
    takes_added_languages: bool = True
    options: BackendOptions = BackendOptions(torch.device("cpu"), "auto", 448)  # noqa: RUF009, frozen

    def decode(
        self,
        clips: Sequence[np.ndarray],
        languages: Sequence[str | None],
        contexts: Sequence[float],
        *,
        previous: Sequence[int] = (),
        temperature: float = 0.0,
    ) -> DecodedClips:
        if self.most_clips is not None and len(clips) > self.most_clips:
            raise MemoryError
        marks = [round(100 * float(clip[len(clip) // 2])) for clip in clips]
        asked = Asked(marks, list(languages), list(contexts), list(previous), temperature)
        self.asked.append(asked)
        found = [self.script(mark, asked) for mark in marks]
        spoken = [given or code for given, (_, code) in zip(languages, found, strict=True)]
        return DecodedClips([text for text, _ in found], spoken, None)


def marked_recording(
    *windows: tuple[int, float, float], language: str | None = None, seconds: float | None = None
) -> LoadedRecording:
    """A recording with speech in (mark, start, end); its samples there are the mark's hundredth."""
    samples = np.zeros(round((seconds or windows[-1][2] + 1) * SAMPLE_RATE), dtype=np.float32)
    for mark, start, end in windows:
        samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] = mark / 100
    return LoadedRecording(samples, language, [SpeechSpan(start, end) for _, start, end in windows])
