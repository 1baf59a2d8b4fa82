"""Turns a plain transcript of a long recording into timed segments: forced alignment with Whisper.

First the model transcribes the recording. Where its words agree with the transcript, recording and transcript
are cut into stretches of less than 30 s (`anchors.py`). Then the model gets the true text of each stretch.
Its cross-attention shows when each word is spoken (`word_timing.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from transformers import WhisperProcessor

from utils.audio.flac import SAMPLE_RATE, num_samples_at
from utils.audio.levels import Levels, measure_levels
from utils.audio.voice_activity import SpeechSpan, find_speech
from utils.data.clips.encoding import Aligner
from utils.data.fields import shown
from utils.data.forced_alignment.anchors import match_units, split_transcript
from utils.data.forced_alignment.reader import LANGUAGE_WINDOWS, Reader, commonest_language, count_tokens
from utils.data.forced_alignment.segments import (
    LONG_PAUSE,
    AlignedSegment,
    PlacedUnit,
    cut_between,
    join_units,
)
from utils.data.forced_alignment.stretches import LONGEST, plan_stretches
from utils.data.utterance import Reject, Utterance
from utils.model.languages import language_codes
from utils.model.loading import load_model
from utils.model.whisper import eval_mode, whisper_of
from utils.runtime.devices import pick_device
from utils.runtime.problems import Problem
from utils.runtime.progress import silence_libraries
from utils.text.cleaning import clean_text
from utils.text.label_tokens import prompt_tokens


def align_transcript(
    samples: np.ndarray,
    text: str,
    *,
    model: torch.nn.Module,
    processor: WhisperProcessor,
    language: str | None,
    max_duration: float = 30.0,
) -> list[AlignedSegment]:
    """Align the plain transcript of a recording of any length.

    Args:
        samples: (samples,) float32 at 16 kHz.
        text: Everything that is said, in order, without times.
        model: Whisper, or a PEFT model around it, on any device.
        language: Language code. If it is None, the model detects the language.
        max_duration: Longest segment, in seconds.

    Returns:
        Segments in order. Joined together, they are the transcript, except for whitespace. The caller rejects
        segments with a low confidence.
    """
    if not split_transcript(text):
        words = text.strip()
        return [AlignedSegment(0.0, len(samples) / SAMPLE_RATE, words, 0.0)] if words else []
    levels = measure_levels(samples)
    placed = place_units(samples, text, levels, model=model, processor=processor, language=language)
    return join_units(text, placed, levels, max_duration)


def align_utterance(
    samples: np.ndarray,
    utterance: Utterance,
    *,
    model: torch.nn.Module,
    processor: WhisperProcessor,
    default_language: str | None,
    max_duration: float,
    min_confidence: float,
) -> list[Utterance | Reject]:
    """Cut a long recording, or a long part of one, with one plain text into timed utterances.

    Args:
        samples: (samples,) float32 at 16 kHz, the whole recording.
        utterance: Gives the text, and the part of the recording if it is not the whole. Its other fields are
            copied.
        model: Whisper, or a PEFT model around it, on any device.
        default_language: Used if the utterance has no language. If it is None, the model detects the
            language.
        max_duration: Longest part, in seconds.
        min_confidence: From 0 to 1. Parts with a lower confidence become rejects.
    """
    offset = utterance.start or 0.0
    last = len(samples) if utterance.end is None else num_samples_at(utterance.end)
    segments = align_transcript(
        samples[num_samples_at(offset) : last],
        utterance.text,
        model=model,
        processor=processor,
        language=utterance.language or default_language,
        max_duration=max_duration,
    )
    return [_part_of(utterance, number, segments, offset, min_confidence) for number in range(len(segments))]


def _part_of(
    utterance: Utterance,
    number: int,
    segments: Sequence[AlignedSegment],
    offset: float,
    min_confidence: float,
) -> Utterance | Reject:
    """Make one segment an utterance of its own, or a reject.

    Its times are counted from the start of the recording.
    """
    segment = segments[number]
    start, end = offset + segment.start, offset + segment.end
    place = f"{start:.2f} to {end:.2f} s"
    if problem := alignment_problem(segment, min_confidence):
        details = f"{problem.details}: {shown(segment.text)}"
        return Reject(utterance.source, place, Problem(problem.kind, details))
    return replace(
        utterance,
        id=f"{utterance.id}_segment_{number:03d}",
        text=clean_text(segment.text),
        position=place,
        start=start,
        end=end,
        recording=utterance.recording or (utterance.id if utterance.start is None else None),
        segments=(),
        previous_text=clean_text(segments[number - 1].text) if number else utterance.previous_text,
        extra={**utterance.extra, "alignment_confidence": round(segment.confidence, 4)},
    )


def alignment_problem(segment: AlignedSegment, min_confidence: float) -> Problem | None:
    """Return why a segment should be rejected, or None if it should not."""
    if segment.confidence >= min_confidence:
        return None
    return Problem(
        "low alignment confidence", f"{segment.confidence:.2f}, expected at least {min_confidence:g}"
    )


def place_units(
    samples: np.ndarray,
    text: str,
    levels: Levels,
    *,
    model: torch.nn.Module,
    processor: WhisperProcessor,
    language: str | None,
    batch_size: int = 8,
) -> list[PlacedUnit]:
    """Find each word of the transcript (each character, in scripts without spaces) in the recording.

    See `align_transcript` for the arguments. The model reads `batch_size` windows of up to 28 s at once.
    Times never decrease. If a unit was not found, its confidence is 0, and its times are those of the gap
    around it.
    """
    units = split_transcript(text)
    whisper = whisper_of(model)
    windows = plan_windows(find_speech(samples), levels)
    with eval_mode(model), torch.inference_mode():
        if language is None and language_codes(whisper):
            language = commonest_language(whisper, processor, samples, windows[:LANGUAGE_WINDOWS])
        prompt = prompt_tokens(processor.tokenizer, language if language_codes(whisper) else None)
        reader = Reader(whisper, processor, prompt, samples, levels, batch_size)
        heard = reader.write_down(windows)
        stretches = plan_stretches(
            units,
            count_tokens(processor, text, units),
            match_units([unit.key for unit in units], [word.key for word in heard]),
            heard,
            len(samples) / SAMPLE_RATE,
            partial(cut_between, levels),
        )
        return reader.place(text, units, stretches)


def plan_windows(speech: Sequence[SpeechSpan], levels: Levels) -> list[SpeechSpan]:
    """Put the speech into windows of at most 28 s. Speech without pauses is cut where it is quiet."""
    windows: list[SpeechSpan] = []
    for span in speech:
        for part in _cut_long(span, levels):
            fits = windows and part.end - windows[-1].start <= LONGEST
            if fits and part.start - windows[-1].end <= LONG_PAUSE:
                windows[-1] = SpeechSpan(windows[-1].start, part.end)
            else:
                windows.append(part)
    return windows


def _cut_long(span: SpeechSpan, levels: Levels) -> Iterator[SpeechSpan]:
    start = span.start
    while span.end - start > LONGEST:
        middle = levels.cut_point(start + 0.7 * LONGEST, start + 0.95 * LONGEST)
        end = min(middle, start + LONGEST)
        yield SpeechSpan(start, end)
        start = end
    yield SpeechSpan(start, span.end)


def load_aligner(model: str, language: str | None, *, max_duration: float, min_confidence: float) -> Aligner:
    """Load a model that cuts a long recording by its plain transcript. See `align_utterance`.

    Args:
        model: Folder or Hub id.
        language: Language of utterances that have none. With `auto` or None, the model detects it.
        max_duration: Longest part, in seconds.
        min_confidence: From 0 to 1. Parts with a lower confidence become rejects.
    """
    silence_libraries()
    loaded = load_model(model)
    return partial(
        align_utterance,
        model=whisper_of(loaded.model).to(pick_device()).eval(),  # type: ignore[arg-type]
        processor=loaded.processor,
        default_language=None if language == "auto" else language,
        max_duration=max_duration,
        min_confidence=min_confidence,
    )
