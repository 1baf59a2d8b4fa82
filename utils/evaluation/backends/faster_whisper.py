"""Decoding by faster-whisper."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from utils.audio.flac import decode_flac
from utils.model.languages import language_ids
from utils.model.loading import LoadedModel
from utils.model.whisper import whisper_of

if TYPE_CHECKING:
    from faster_whisper import WhisperModel


SAMPLING_SEED = 1  # of what faster-whisper draws where greedy decoding fails


@dataclass(frozen=True)
class FasterWhisperTranscriber:
    """What faster-whisper itself makes of each clip, with its fallbacks, as its users will see it."""

    engine: "WhisperModel"
    loaded: LoadedModel
    task: str
    num_beams: int

    def transcribe_batch(
        self, clips: Sequence[bytes], languages: Sequence[str | None], contexts: Sequence[float]
    ) -> list[str]:
        pairs = zip(clips, languages, strict=True)
        return [self.transcribe_samples(decode_flac(clip), language) for clip, language in pairs]

    def transcribe_samples(self, samples: np.ndarray, language: str | None) -> str:
        """The text of a recording of any length, (samples,) float32 at 16 kHz."""
        spoken = language if language_ids(whisper_of(self.loaded.model)) else "en"
        segments, _ = self.engine.transcribe(
            samples,
            language=spoken,
            task=self.task,
            beam_size=self.num_beams,
            condition_on_previous_text=False,  # as in utils/evaluation/long_form.py
        )
        return "".join(segment.text for segment in segments).strip()
