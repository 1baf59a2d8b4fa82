"""Encodes a block of items.

Each recording is decoded once, and its clips are cut, checked and encoded as FLAC.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from utils.audio.flac import SAMPLE_RATE, encode_flac, num_samples_at
from utils.audio.reading import LONGEST_AUDIO
from utils.audio.voice_activity import speech_extent
from utils.data.blocks import Block, BlockCount
from utils.data.clips.block_files import EXAMPLE_SECONDS, EncodedClip, Rejected, write_block
from utils.data.decoding import decode_recording
from utils.data.quality.clip_checks import check_clip, content_hash
from utils.data.quality.text_checks import check_text
from utils.data.segmentation.pieces import END_TOLERANCE, segment_problem
from utils.data.utterance import Reject, TimedText, Utterance
from utils.runtime.problems import BadItem, Problem
from utils.text.label_tokens import MAX_LABEL_TOKENS
from utils.text.token_counter import load_token_counter

LABEL_FRAME = 4
"""Number of label tokens that are not text: language, task, no timestamps, end.

The start token is not in the labels.
"""

MOST_TRIMMED = 120.0
"""In seconds.

A clip over the limit of duration may fit if its silence is cut off. If it is longer than this, it hardly ever
fits.
"""

KEPT_SILENCE = 0.3  # seconds kept at each end if silence is cut off, besides 0.1 s that count as speech

TOO_LONG_ADVICE = "; give times of shorter pieces (start and end, or subtitles), or --align_with_model"

Aligner = Callable[[np.ndarray, Utterance], Sequence[Utterance | Reject]]
"""Function that cuts a long utterance by its text.

It gets the whole recording, (samples,) at 16 kHz, and the utterance.
"""


@dataclass(frozen=True)
class ClipSettings:
    """Settings for choosing and encoding clips."""

    min_duration: float  # seconds
    max_duration: float
    rules: frozenset[str]  # names from utils.data.quality.rules
    language: str | None  # of utterances without a language; auto leaves it open, None rejects them
    tokenizer: str | None  # folder or Hub id, to count label tokens


def encode_block(
    block: Block, folder: Path, settings: ClipSettings, align: Aligner | None = None
) -> BlockCount:
    """Encode one block and write its two files into `folder`, the index last."""
    results = (result for group in block.groups() for result in encode_group(group, settings, align))
    return BlockCount(len(block.items), write_block(block.index_in(folder), results))


def encode_group(
    group: list[Utterance | Reject], settings: ClipSettings, align: Aligner | None = None
) -> Iterator[tuple[Utterance, EncodedClip] | Rejected]:
    """Yield the result of one reject, or of all utterances of one recording.

    The recording is decoded once.
    """
    first = group[0]
    if isinstance(first, Reject):
        yield Rejected(first)
        return
    utterances = [item for item in group if isinstance(item, Utterance)]
    # A clip that is the whole file need not be decoded far beyond the longest kept clip.
    most = MOST_TRIMMED if first.start is None and align is None else LONGEST_AUDIO
    try:
        samples = decode_recording(
            first.audio, max_seconds=most, allow_truncated="truncated" not in settings.rules
        )
    except BadItem as error:
        problem = error.problem
        if problem.kind == "too long":
            problem = replace(problem, details=f"{problem.details}{TOO_LONG_ADVICE}")
        yield from (Rejected(Reject(u.source, u.position, problem), text=u.text) for u in utterances)
        return
    for utterance in utterances:
        for item in fit_utterance(samples, utterance, settings, align):
            yield Rejected(item) if isinstance(item, Reject) else encode_utterance(samples, item, settings)


def fit_utterance(
    samples: np.ndarray, utterance: Utterance, settings: ClipSettings, align: Aligner | None
) -> Sequence[Utterance | Reject]:
    """Make an utterance short enough: keep it, cut the silence at its ends, or split it where its text
    allows.

    If nothing helps, return it unchanged. It will be rejected later because of its length.

    Args:
        samples: (samples,) float32 at 16 kHz, the whole recording.
        utterance: The whole recording or a part of it.
        settings: Gives the longest duration of a clip.
        align: Cuts utterances that are too long even without their silence.
    """
    duration = len(samples) / SAMPLE_RATE
    start, end = utterance.start or 0.0, duration if utterance.end is None else utterance.end
    if end - start <= settings.max_duration + END_TOLERANCE or segment_problem(start, end, duration):
        return [utterance]
    if end - start <= MOST_TRIMMED:
        trimmed = _trim(samples, utterance, start, min(end, duration), settings.max_duration)
        if trimmed is not None:
            return [trimmed]
    return [utterance] if align is None else align(samples, utterance)


def _trim(
    samples: np.ndarray, utterance: Utterance, start: float, end: float, max_duration: float
) -> Utterance | None:
    """Return the utterance from `start` to `end` s without the silence at its ends.

    None if it is still too long.
    """
    extent = speech_extent(samples[num_samples_at(start) : num_samples_at(end)])
    if extent is None or extent.end - extent.start > max_duration:
        return None
    margin = min(KEPT_SILENCE, (max_duration - (extent.end - extent.start)) / 2)
    new_start, new_end = max(start + extent.start - margin, start), min(start + extent.end + margin, end)
    segments = tuple(
        TimedText(
            round(max(part.start + start - new_start, 0.0), 6),
            round(min(part.end + start, new_end) - new_start, 6),
            part.text,
        )
        for part in utterance.segments
    )
    if any(part.end <= part.start for part in segments):  # its text would be in the part that is cut off
        segments = ()
    return replace(utterance, start=round(new_start, 6), end=round(new_end, 6), segments=segments)


def encode_utterance(
    samples: np.ndarray, utterance: Utterance, settings: ClipSettings
) -> tuple[Utterance, EncodedClip] | Rejected:
    """Cut one clip out of its recording, check it and its text, and encode it."""
    problem = None
    if utterance.start is not None and utterance.end is not None:
        problem = segment_problem(utterance.start, utterance.end, len(samples) / SAMPLE_RATE)
        samples = samples[num_samples_at(utterance.start) : num_samples_at(utterance.end)]
    duration = len(samples) / SAMPLE_RATE
    problem = problem or _length_problem(duration, settings)
    samples = samples[: num_samples_at(settings.max_duration)]  # lossy formats add a few milliseconds
    language = utterance.language or (None if settings.language == "auto" else settings.language)
    if language is None and settings.language is None:
        problem = problem or Problem("no language", "give one, such as --language it, for all that have none")
    problem = problem or check_text(utterance.text, language, settings.rules)
    num_tokens = None
    if problem is None and settings.tokenizer is not None:
        num_tokens = _token_counter(settings.tokenizer)(utterance.text) + LABEL_FRAME
        if num_tokens > MAX_LABEL_TOKENS:
            problem = Problem(
                "label too long",
                f"{num_tokens} tokens, expected at most {MAX_LABEL_TOKENS}; cut the utterance",
            )
    problem = problem or check_clip(samples, settings.rules)
    if problem is not None:
        flac = encode_flac(samples[: num_samples_at(EXAMPLE_SECONDS)]) if len(samples) else None
        return Rejected(Reject(utterance.source, utterance.position, problem), flac, utterance.text)
    seconds = len(samples) / SAMPLE_RATE
    clip = EncodedClip(encode_flac(samples), seconds, content_hash(samples).hex(), num_tokens)
    return replace(utterance, language=language), clip


def _length_problem(duration: float, settings: ClipSettings) -> Problem | None:
    if duration < settings.min_duration:
        return Problem("too short", f"{duration:.3f} s, expected at least {settings.min_duration:g} s")
    if duration > settings.max_duration + END_TOLERANCE:
        return Problem(
            "too long", f"{duration:.1f} s, expected at most {settings.max_duration:g} s{TOO_LONG_ADVICE}"
        )
    return None


_token_counter = lru_cache(maxsize=1)(load_token_counter)
