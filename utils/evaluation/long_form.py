"""Recordings of any length as one text: cut at pauses into windows, which are decoded in batches."""

import itertools
from collections.abc import Sequence

import numpy as np

from utils.audio.flac import SAMPLE_RATE, encode_flac
from utils.audio.levels import measure_levels
from utils.audio.voice_activity import SpeechSpan, find_speech
from utils.data.segmentation.pieces import join_texts
from utils.model.transcription import BatchTranscriber, transcribe_clips

LONGEST_WINDOW = 29.5  # seconds of sound in a window of 30: the decoder wants to hear an end

CUT_REACH = 5.0  # seconds before the end of a window within which speech without a pause is cut


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
