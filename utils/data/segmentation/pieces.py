"""Defines the pieces of a timed transcript, and the segments that are made from them."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from utils.data.utterance import TimedText
from utils.runtime.problems import BadItem, Problem

END_TOLERANCE = 0.05
"""Seconds that a segment may end after its audio, because times are rounded.

Its end is then moved to the end of the audio.
"""

# Scripts without spaces between words: Chinese characters, kana, their punctuation and full-width forms.
_UNSPACED = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")


@dataclass(frozen=True)
class Piece:
    """One timed piece of a transcript, in seconds of the recording.

    `text` is clean and not empty; `end` is after `start`. `words` may be empty. Otherwise they are in order,
    without overlap, and within the piece. Joined without separators, they are the text, so they may begin
    with a space.
    """

    position: int | str
    start: float
    end: float
    text: str
    speaker: str | None = None
    words: tuple[TimedText, ...] = ()


@dataclass(frozen=True)
class BadPiece:
    """A piece that gives no segment, with the reason. The times are None if the file has none."""

    position: int | str
    problem: Problem
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Segment:
    """Speech to cut out of a recording, in seconds. `position` is the position of its first piece.

    `segments` are the pieces that it was joined from. Their times count from the start of the segment.
    """

    position: int | str
    start: float
    end: float
    text: str
    speaker: str | None
    segments: tuple[TimedText, ...]
    previous_text: str | None


def check_segment(start: float, end: float) -> None:
    """Raise a BadItem if the end is not after the start."""
    if problem := segment_problem(start, end):
        raise BadItem(problem.kind, problem.details)


def segment_problem(start: float, end: float, audio_duration: float = math.inf) -> Problem | None:
    """Return why audio from `start` to `end` seconds cannot be cut out, or None if it can."""
    if end <= start:
        return Problem("end not after start", f"segment {start:g} to {end:g} s; correct its times")
    if end > audio_duration + END_TOLERANCE:
        return Problem(
            "segment beyond the end of the audio",
            f"{start:g} to {end:g} s, the audio has {audio_duration:.2f} s",
        )
    if start >= audio_duration:
        return Problem(
            "segment beyond the end of the audio",
            f"starts at {start:g} s, the audio has {audio_duration:.2f} s",
        )
    return None


def join_texts(texts: Iterable[str]) -> str:
    """Join texts with a space between them, but without a space in scripts that have none."""
    joined = ""
    for text in texts:
        unspaced = joined and text and _UNSPACED.match(joined[-1]) and _UNSPACED.match(text[0])
        joined += text if unspaced or not joined else f" {text}"
    return joined


def duration_of(item: Piece | Segment) -> float:
    return round(item.end - item.start, 6)
