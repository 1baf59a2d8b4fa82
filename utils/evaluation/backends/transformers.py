"""Decode clips with our own greedy decoding, and long recordings with transformers."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from utils.audio.flac import SAMPLE_RATE, decode_flac
from utils.evaluation.backends.transcriber import BackendOptions
from utils.model.decoding import DecodedClips, decode_clips, ready_to_decode
from utils.model.languages import language_ids
from utils.model.loading import LoadedModel, load_model
from utils.model.whisper import whisper_of
from utils.runtime.devices import pick_dtype

# of openai/whisper's transcribe: when to decode a window again at a higher temperature, or skip it
FALLBACK: dict[str, Any] = {
    "temperature": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "compression_ratio_threshold": 1.35,
    "logprob_threshold": -1.0,
    "no_speech_threshold": 0.6,
}


@dataclass(frozen=True)
class TransformersTranscriber:
    """A model in memory, decoded by this process."""

    loaded: LoadedModel
    options: BackendOptions
    takes_dynamic_context: bool = True
    takes_added_languages: bool = True

    def transcribe_batch(
        self, clips: Sequence[bytes], languages: Sequence[str | None], contexts: Sequence[float]
    ) -> list[str]:
        samples = [decode_flac(clip) for clip in clips]
        return self.decode(samples, languages, contexts, previous=self.options.prompt).texts

    def decode(
        self,
        clips: Sequence[np.ndarray],
        languages: Sequence[str | None],
        contexts: Sequence[float],
        *,
        previous: Sequence[int] = (),
        temperature: float = 0.0,
    ) -> DecodedClips:
        return decode_clips(
            self.loaded.model,
            self.loaded.processor,
            clips,
            languages,
            contexts,
            max_length=self.options.max_length,
            task=self.options.task,
            silence_run=self.loaded.decoding_silence_run,
            previous=previous,
            temperature=temperature,
        )

    def transcribe_recording(self, samples: np.ndarray, language: str | None) -> str:
        whisper, processor = whisper_of(self.loaded.model), self.loaded.processor
        is_short = len(samples) <= 30 * SAMPLE_RATE
        inputs = processor.feature_extractor(
            samples,
            sampling_rate=SAMPLE_RATE,
            return_tensors="pt",
            truncation=is_short,
            padding="max_length" if is_short else "longest",
            return_attention_mask=True,
        ).to(whisper.device, whisper.dtype)
        spoken: dict[str, Any] = (
            {"language": language, "task": self.options.task} if language_ids(whisper) else {}
        )
        with torch.inference_mode(), torch.random.fork_rng():
            torch.manual_seed(0)  # sampling: the same recording must give the same text
            tokens = whisper.generate(
                **inputs,
                **spoken,
                **FALLBACK,
                max_length=self.options.max_length,
                return_timestamps=True,
                condition_on_prev_tokens=False,
            )
        return processor.tokenizer.decode(tokens[0], skip_special_tokens=True).strip()


@contextlib.contextmanager
def open_transformers(name: str, options: BackendOptions) -> Iterator[TransformersTranscriber]:
    """Load a model onto the device."""
    dtype = pick_dtype(options.device) if options.dtype == "auto" else getattr(torch, options.dtype)
    loaded = load_model(name, dtype=dtype)
    loaded.model.to(options.device)
    with ready_to_decode(loaded.model):
        yield TransformersTranscriber(loaded, options)
