"""Decoding by faster-whisper."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from utils.audio.flac import decode_flac
from utils.evaluation.backends.ctranslate2_folder import ctranslate2_folder, engine_options
from utils.evaluation.backends.transcriber import BackendOptions
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
    takes_dynamic_context: bool = False
    takes_added_languages: bool = False

    def transcribe_batch(
        self, clips: Sequence[bytes], languages: Sequence[str | None], contexts: Sequence[float]
    ) -> list[str]:
        pairs = zip(clips, languages, strict=True)
        return [self.transcribe_recording(decode_flac(clip), language) for clip, language in pairs]

    def transcribe_recording(self, samples: np.ndarray, language: str | None) -> str:
        spoken = language if language_ids(whisper_of(self.loaded.model)) else "en"
        segments, _ = self.engine.transcribe(
            samples,
            language=spoken,
            task=self.task,
            beam_size=self.num_beams,
            condition_on_previous_text=False,  # it would spread loops from one window to the next
        )
        return "".join(segment.text for segment in segments).strip()


@contextlib.contextmanager
def open_faster_whisper(name: str, options: BackendOptions) -> Iterator[FasterWhisperTranscriber]:
    """Convert a model where it is not in CTranslate2's form, and load it."""
    engine_words = engine_options("faster_whisper", options)
    from ctranslate2 import set_random_seed
    from faster_whisper import WhisperModel

    set_random_seed(SAMPLING_SEED)
    with ctranslate2_folder(name) as (folder, loaded):
        engine = WhisperModel(str(folder), cpu_threads=torch.get_num_threads(), **engine_words)
        yield FasterWhisperTranscriber(engine, loaded, options.task, options.num_beams)
