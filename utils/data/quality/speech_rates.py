"""Finds texts that are too long or too short for their clips."""

import math
import unicodedata
from dataclasses import dataclass

import numpy as np

from utils.runtime.problems import Problem

SLOWEST, FASTEST = 0.3, 50.0  # characters a second; nobody speaks slower or faster

MIN_RATES = 50
"""Fewest utterances that show which rate is usual in a corpus."""

USUAL_WIDTH = 5.0  # robust standard deviations of the logarithm

LEAST_FACTOR = 2.5  # the usual range goes at least this factor below and above the median

PAUSE_ALLOWED = 2.0  # seconds of silence around a short answer

CHARACTERS_ALLOWED = 8  # a clip of one short word may be cut tight

LETTERS_OF_A_DIGIT = 5  # "7" is spoken "seven"


@dataclass(frozen=True)
class RateLimits:
    """The median of a corpus and the limits of the usual range, in characters per second."""

    usual: float
    low: float
    high: float


def count_characters(text: str) -> int:
    """Count letters, vowel signs and digits. Spaces and punctuation are not spoken."""
    return sum(unicodedata.category(character)[0] in "LMN" for character in text)


def spoken_characters(text: str) -> int:
    """Count the characters. A digit counts as `LETTERS_OF_A_DIGIT`, because it is spoken as a word."""
    return count_characters(text) + (LETTERS_OF_A_DIGIT - 1) * sum(map(str.isdecimal, text))


def rate_limits(characters: np.ndarray, seconds: np.ndarray) -> RateLimits | None:
    """Compute the usual speech rate of a corpus from median and median absolute deviation of its logarithm.

    All utterances must be of one language: a Chinese character takes as long as three Latin letters.

    Args:
        characters: (utterances,) from `count_characters`.
        seconds: (utterances,) durations of the clips.

    Returns:
        None if fewer than `MIN_RATES` utterances have characters.
    """
    usable = (characters > 0) & (seconds > 0)
    if usable.sum() < MIN_RATES:
        return None
    rates = np.log(characters[usable] / seconds[usable])
    median = float(np.median(rates))
    # 1.4826: the MAD of a normal distribution in standard deviations
    # (https://doi.org/10.1016/j.jesp.2013.03.013)
    deviation = 1.4826 * float(np.median(np.abs(rates - median)))
    width = max(USUAL_WIDTH * deviation, math.log(LEAST_FACTOR))
    low, high = math.exp(median - width), math.exp(median + width)
    return RateLimits(math.exp(median), max(low, SLOWEST), min(high, FASTEST))


def rate_problem(
    num_characters: int, spoken: int, seconds: float, limits: RateLimits | None
) -> Problem | None:
    """Return why a text does not fit a clip of this length, or None if it fits.

    For short utterances, the limits are wider, because many of them are mostly pause or are cut close to the
    speech.

    Args:
        num_characters: Characters of the clip's text, from `count_characters`.
        spoken: From `spoken_characters`.
        seconds: The clip's duration.
        limits: Limits of the corpus and language. None if there are too few utterances: then only rates that
            nobody can speak are rejected.
    """
    low, high = (limits.low, limits.high) if limits else (SLOWEST, FASTEST)
    too_fast = num_characters - CHARACTERS_ALLOWED > high * seconds
    too_slow = spoken < low * (seconds - PAUSE_ALLOWED)
    if not too_fast and not too_slow:
        return None
    usual = f"usual here {low:.1f} to {high:.1f}" if limits else f"expected {low:.1f} to {high:.1f}"
    what = "more text than can be said" if too_fast else "less text than expected for this duration"
    return Problem(
        "speech rate",
        f"{num_characters / seconds:.1f} characters a second, {usual}; {what}, "
        "check that text and audio belong together",
    )
