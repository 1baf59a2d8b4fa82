"""Pieces of a timed transcript, and the segments made of them."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from utils.data.utterance import TimedText
from utils.runtime.problems import BadItem, Problem

END_TOLERANCE = 0.05
"""Seconds a segment may reach beyond its audio: transcripts are often rounded to tenths. It is clipped."""

# Scripts without spaces between words: Chinese characters, kana, their punctuation and full-width forms.
_UNSPACED = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")


@dataclass(frozen=True)
class Piece:
    """One timed piece of a transcript as its file has it, in seconds of the recording.

    `text` is clean and not empty, `end` is after `start`. `words` are empty, or in order, without overlap and
    within the piece, and spell the text when joined as they are (so they may begin with a space).
    """

    position: int | str
    start: float
    end: float
    text: str
    speaker: str | None = None
    words: tuple[TimedText, ...] = ()


@dataclass(frozen=True)
class BadPiece:
    """A piece that gives no segment, and why. The times are None where the file has none."""

    position: int | str
    problem: Problem
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Segment:
    """Speech to be cut out of a recording, in seconds. `position` is that of its first piece.

    The times of `segments`, the pieces it was joined from, count from the segment's start.
    """

    position: int | str
    start: float
    end: float
    text: str
    speaker: str | None
    segments: tuple[TimedText, ...]
    previous_text: str | None


def check_segment(start: float, end: float) -> None:
    """Raise a BadItem where nothing lies between start and end."""
    if problem := segment_problem(start, end):
        raise BadItem(problem.kind, problem.details)


def segment_problem(start: float, end: float, audio_duration: float = math.inf) -> Problem | None:
    """Why audio from `start` to `end` seconds cannot be cut out, or None."""
    if end <= start:
        return Problem("end not after start", f"segment {start:g} to {end:g} s")
    if end > audio_duration + END_TOLERANCE:
        return Problem(
            "segment beyond the end of the audio", f"{start:g} to {end:g} s of {audio_duration:.2f} s"
        )
    if start >= audio_duration:
        return Problem(
            "segment beyond the end of the audio", f"starts at {start:g} s of {audio_duration:.2f} s"
        )
    return None


def join_texts(texts: Iterable[str]) -> str:
    """Texts one after the other, with a space between them unless their script has none."""
    joined = ""
    for text in texts:
        unspaced = joined and text and _UNSPACED.match(joined[-1]) and _UNSPACED.match(text[0])
        joined += text if unspaced or not joined else f" {text}"
    return joined


def duration_of(item: Piece | Segment) -> float:
    return round(item.end - item.start, 6)
