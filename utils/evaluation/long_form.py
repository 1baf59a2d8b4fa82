"""Recordings of any length as one text: window after window as Whisper goes, or cut at pauses, in batches."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from utils.audio.flac import SAMPLE_RATE, encode_flac
from utils.audio.levels import measure_levels
from utils.audio.voice_activity import SpeechSpan, find_speech
from utils.data.segmentation.pieces import join_texts
from utils.evaluation.backends.faster_whisper import FasterWhisperTranscriber
from utils.evaluation.backends.transcriber import Transcriber
from utils.model.languages import language_ids
from utils.model.loading import LoadedModel
from utils.model.transcription import BatchTranscriber, transcribe_clips
from utils.model.whisper import whisper_of

WAYS = ("sequential", "chunked")

LONGEST_WINDOW = 29.5  # seconds of sound in a window of 30: the decoder wants to hear an end

CUT_REACH = 5.0  # seconds before the end of a window within which speech without a pause is cut

# of openai/whisper's transcribe: when a window is decoded anew at a higher temperature, or left out
FALLBACK: dict[str, Any] = {
    "temperature": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "compression_ratio_threshold": 1.35,
    "logprob_threshold": -1.0,
    "no_speech_threshold": 0.6,
}


def transcribe_sequential(
    transcriber: Transcriber,
    loaded: LoadedModel,
    samples: np.ndarray,
    language: str | None,
    *,
    task: str = "transcribe",
    max_length: int = 448,
) -> str:
    """Whisper's own way (arXiv:2212.04356, 3.8): the last timestamp of a window says where the next begins.

    transformers' or faster-whisper's implementation, whichever the transcriber belongs to; without the text
    before as a prompt, which spreads loops from one window to the next.

    Args:
        transcriber: Of transformers or faster-whisper.
        loaded: Its model.
        samples: (samples,) float32 at 16 kHz.
        language: Code; None lets the model detect it.
        task: transcribe, or translate into English; faster-whisper's transcriber has its own.
        max_length: Most tokens of a window, the prompt included; faster-whisper has its own.
    """
    if isinstance(transcriber, FasterWhisperTranscriber):
        return transcriber.transcribe_samples(samples, language)
    whisper, processor = whisper_of(loaded.model), loaded.processor
    inputs = processor.feature_extractor(
        samples,
        sampling_rate=SAMPLE_RATE,
        return_tensors="pt",
        truncation=len(samples) <= 30 * SAMPLE_RATE,
        padding="max_length" if len(samples) <= 30 * SAMPLE_RATE else "longest",
        return_attention_mask=True,
    ).to(whisper.device, whisper.dtype)
    spoken: dict[str, Any] = {"language": language, "task": task} if language_ids(whisper) else {}
    with torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(0)  # temperatures draw: the same recording gets the same text
        tokens = whisper.generate(
            **inputs,
            **spoken,
            **FALLBACK,
            max_length=max_length,
            return_timestamps=True,
            condition_on_prev_tokens=False,
        )
    return processor.tokenizer.decode(tokens[0], skip_special_tokens=True).strip()


def transcribe_chunked(
    transcribe_batch: BatchTranscriber,
    samples: np.ndarray,
    language: str | None,
    *,
    audio_context: str,
    batch_size: int,
) -> str:
    """Cut at pauses into windows of at most 30 s, decode these in batches and join the texts.

    What VAD takes for silence is not decoded, which spares what a model makes up there; after WhisperX (Bain
    et al. 2023, arXiv:2303.00747).

    Args:
        transcribe_batch: Of any backend.
        samples: (samples,) float32 at 16 kHz.
        language: Code; None lets the model detect it in each window.
        audio_context: "full" or "dynamic".
        batch_size: Windows decoded at once.

    Raises:
        RuntimeError: The decoder failed on a window; without it the text would lack a part.
    """
    windows = cut_windows(samples)
    heard = transcribe_clips(
        transcribe_batch,
        [encode_flac(samples[_place(window.start) : _place(window.end)]) for window in windows],
        [window.end - window.start for window in windows],
        [language] * len(windows),
        audio_context=audio_context,
        batch_size=batch_size,
        keeps_failures=True,
    ).values()
    errors = [hypothesis.error for hypothesis in heard if hypothesis.error]
    if errors:
        raise RuntimeError(f"{len(errors)} of {len(windows)} windows: {errors[0]}")
    return join_texts(hypothesis.text for hypothesis in heard)


def cut_windows(samples: np.ndarray, longest: float = LONGEST_WINDOW) -> list[SpeechSpan]:
    """Windows of at most `longest` seconds that hold all speech of a recording (samples,) at 16 kHz.

    Stretches of speech share a window while they fit; one that is longer is cut where it is quietest.
    """
    spans = find_speech(samples)
    parts = [part for span in spans for part in _cut_long(span, samples, longest)]
    windows: list[SpeechSpan] = []
    for part in parts:
        if windows and part.end - windows[-1].start <= longest:
            windows[-1] = SpeechSpan(windows[-1].start, part.end)
        else:
            windows.append(part)
    return windows


def _cut_long(span: SpeechSpan, samples: np.ndarray, longest: float) -> Sequence[SpeechSpan]:
    if span.end - span.start <= longest:
        return [span]
    levels = measure_levels(samples[_place(span.start) : _place(span.end)])
    cuts = [span.start]
    while span.end - cuts[-1] > longest:
        latest = cuts[-1] + longest - span.start  # within the span
        cuts.append(span.start + levels.cut_point(latest - CUT_REACH, latest - 0.5))
    return [SpeechSpan(start, end) for start, end in itertools.pairwise([*cuts, span.end])]


def _place(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)
