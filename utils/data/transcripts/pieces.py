"""Functions for all readers of timed transcripts.

They read seconds, find notes of sounds, and fit words to their line.
"""

import itertools
import math
import re
import unicodedata
from collections.abc import Sequence

from utils.data.decimals import read_decimal
from utils.data.fields import text_problem
from utils.data.segmentation.pieces import BadPiece, Piece, segment_problem
from utils.data.utterance import TimedText
from utils.runtime.problems import Problem
from utils.text.cleaning import clean_text

LATEST_SECOND = 1e9
"""Times of this value or above are errors."""

WORD_TOLERANCE = 0.5  # seconds; if a word is farther outside its piece, the word times are not used

_SOUND_NOTE = re.compile(r"\[[^\[\]]*\]|\([^()]*\)|\*[^*]*\*")  # [Music], (laughter), *coughs*

_MUSIC_SIGN = re.compile(r"[♩♪♫♬]")


def read_seconds(text: str, *, has_decimal_commas: bool = False) -> float | None:
    """Read a point in time, a plain number of seconds, or return None. See `read_decimal`."""
    seconds = read_decimal(text, has_decimal_commas=has_decimal_commas)
    return seconds if seconds is not None and math.isfinite(seconds) and seconds >= 0 else None


def is_sound_note(text: str) -> bool:
    """Check whether a cleaned text only describes sounds or music, or has nothing to speak."""
    if _MUSIC_SIGN.search(text):
        return True
    return not any(unicodedata.category(c)[0] in "LNS" for c in _SOUND_NOTE.sub("", text))


def fit_words(words: Sequence[TimedText], start: float, end: float, text: str) -> tuple[TimedText, ...]:
    """Fit timed words to a `Piece`. Return none if they do not agree with its text and times."""
    spoken = [word for word in words if clean_text(word.text)]
    gaps = ("", " ")  # Whisper's words begin with a space, those of other aligners do not
    gap = next((gap for gap in gaps if clean_text(gap.join(word.text for word in spoken)) == text), None)
    if gap is None or any(b.start < a.start for a, b in itertools.pairwise(spoken)):
        return ()
    if not start - WORD_TOLERANCE <= spoken[0].start <= spoken[-1].end <= end + WORD_TOLERANCE:
        return ()
    fitted = []
    for index, word in enumerate(spoken):
        following = spoken[index + 1].start if index + 1 < len(spoken) else end
        begin = min(max(word.start, start), end)
        finish = max(begin, min(word.end, following, end))
        fitted.append(TimedText(begin, finish, f"{gap if index else ''}{word.text}"))
    return tuple(fitted)


def build_piece(
    position: int | str,
    start: float,
    end: float,
    text: str,
    speaker: str | None = None,
    words: Sequence[TimedText] = (),
) -> Piece | BadPiece:
    """Make a piece from a text that is not yet cleaned, or a reject."""
    if not 0 <= start < LATEST_SECOND or not 0 <= end < LATEST_SECOND:  # also True for NaN
        return BadPiece(
            position, Problem("time out of range", f"{start:g} to {end:g}, expected 0 seconds or more")
        )
    if problem := segment_problem(start, end):
        return BadPiece(position, problem, start)
    cleaned = clean_text(text)
    if not cleaned:
        return BadPiece(position, Problem("empty text", f"segment {start:g} to {end:g} s"), start, end)
    if is_sound_note(cleaned):
        return BadPiece(position, Problem("no speech", f"the text is {cleaned[:60]!r}"), start, end)
    if problem := text_problem(cleaned):
        return BadPiece(position, problem, start, end)
    name = clean_text(speaker or "") or None
    return Piece(position, start, end, cleaned, name, fit_words(words, start, end, cleaned))


def lines_of(text: str) -> list[str]:
    # not splitlines(): a form feed or a Unicode line separator is part of the text
    return re.split(r"\r\n|\n|\r", text)
