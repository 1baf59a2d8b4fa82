"""Timed transcripts, lines of `start<TAB>end<TAB>text` in seconds, cut into segments."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from utils.text import clean_text

END_TOLERANCE = 0.05
"""Seconds a segment may reach beyond its audio: transcripts are often rounded to tenths. It is clipped."""

_TWO_DECIMALS = re.compile(r"\s*\d+\.\d+\s+\d+\.\d+(\s|$)")


@dataclass(frozen=True)
class Segment:
    """One usable line of a timed transcript. `line` counts from 1; start and end in seconds."""

    line: int
    start: float
    end: float
    text: str


@dataclass(frozen=True)
class BadLine:
    """One line that gives no segment, and why: `kind: details`."""

    line: int
    reason: str


def is_timed(transcript: str) -> bool:
    """Whether a transcript means to give times: a line has tabs, or begins with two decimal numbers.

    The second sign catches files whose tabs were turned into spaces: they must be rejected, not learnt.
    """
    return any("\t" in line.strip() or _TWO_DECIMALS.match(line) for line in transcript.splitlines())


def cut_transcript(
    transcript: str, *, min_segment_duration: float, max_duration: float = 30.0
) -> Iterator[Segment | BadLine]:
    """Read the lines of a timed transcript in order; blank lines are passed over.

    Args:
        transcript: Lines of `start<TAB>end<TAB>text`; further tabs belong to the text.
        min_segment_duration: Shorter segments are rejected, in seconds.
        max_duration: Longer segments are rejected, in seconds.
    """
    # not splitlines(): a form feed or a Unicode line separator is part of the text
    for number, line in enumerate(re.split(r"\r\n|\n|\r", transcript), start=1):
        if line.strip():
            yield _read_line(number, line, min_segment_duration, max_duration)


def _read_line(number: int, line: str, shortest: float, longest: float) -> Segment | BadLine:
    fields = line.split("\t", maxsplit=2)
    if len(fields) < 3:
        return BadLine(
            number, f"malformed line: found {len(fields) - 1} tabs, expected start<TAB>end<TAB>text"
        )
    start, end, text = read_seconds(fields[0]), read_seconds(fields[1]), clean_text(fields[2])
    if start is None or end is None:
        return BadLine(
            number, f"malformed line: times {fields[0]!r} and {fields[1]!r}, expected seconds from 0"
        )
    problem = segment_problem(start, end)
    if problem is None and not text:
        problem = f"empty text: segment {start:g} to {end:g} s"
    duration = round(end - start, 6)  # 0.5 written as 1.1 to 1.6 must not count as 0.49999
    if problem is None and duration < shortest:
        problem = f"segment too short: {duration:g} s, expected at least {shortest:g} s"
    if problem is None and duration > longest:
        problem = (
            f"segment too long: {duration:g} s, expected at most {longest:g} s; cut it in the transcript"
        )
    return Segment(number, start, end, text) if problem is None else BadLine(number, problem)


def read_seconds(text: str) -> float | None:
    """A point in time written as a plain number of seconds, or None."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def segment_problem(start: float, end: float, audio_duration: float = math.inf) -> str | None:
    """Why audio from `start` to `end` seconds cannot be cut out, or None."""
    if end <= start:
        return f"end not after start: segment {start:g} to {end:g} s"
    if end > audio_duration + END_TOLERANCE:
        return f"segment beyond the end of the audio: {start:g} to {end:g} s of {audio_duration:.2f} s"
    if start >= audio_duration:
        return f"segment beyond the end of the audio: starts at {start:g} s of {audio_duration:.2f} s"
    return None
