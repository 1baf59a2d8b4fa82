"""Texts that are too long or too short for their clips."""

import math
import unicodedata
from dataclasses import dataclass

import numpy as np

from utils.runtime.problems import Problem

SLOWEST, FASTEST = 0.3, 50.0  # characters a second that nobody falls below or exceeds

MIN_RATES = 50
"""Utterances below which a corpus does not show what is usual in it."""

USUAL_WIDTH = 5.0  # robust standard deviations of the logarithm

LEAST_FACTOR = 2.5  # what is usual spans at least so much to both sides

PAUSE_ALLOWED = 2.0  # seconds of silence around a short answer

CHARACTERS_ALLOWED = 8  # a clip of one short word may be cut tightly

LETTERS_OF_A_DIGIT = 5  # "7" is spoken "seven"


@dataclass(frozen=True)
class RateLimits:
    """Characters a second: the corpus's median, and what is still usual."""

    usual: float
    low: float
    high: float


def count_characters(text: str) -> int:
    """Letters, vowel signs and digits of a text; spaces and punctuation are not spoken."""
    return sum(unicodedata.category(character)[0] in "LMN" for character in text)


def spoken_characters(text: str) -> int:
    """The same, with a digit as long as the word it is spoken as."""
    return count_characters(text) + (LETTERS_OF_A_DIGIT - 1) * sum(map(str.isdecimal, text))


def rate_limits(characters: np.ndarray, seconds: np.ndarray) -> RateLimits | None:
    """What speech rate is usual in a corpus: median and median absolute deviation of its logarithm.

    Utterances of one language belong together: a Chinese character takes as long as three Latin letters.

    Args:
        characters: (utterances,) from `count_characters`.
        seconds: (utterances,) durations of the clips.

    Returns:
        None for fewer than `MIN_RATES` utterances that have any character.
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
    """Why a text cannot be what is said in a clip of this length, or None.

    Both directions are lenient with short utterances, which are mostly pause or cut tightly.

    Args:
        num_characters: Of the clip's text, from `count_characters`.
        spoken: From `spoken_characters`.
        seconds: The clip's duration.
        limits: Of the corpus and language; None where there are too few utterances: then only what nobody can
            say is rejected.
    """
    low, high = (limits.low, limits.high) if limits else (SLOWEST, FASTEST)
    too_fast = num_characters - CHARACTERS_ALLOWED > high * seconds
    too_slow = spoken < low * (seconds - PAUSE_ALLOWED)
    if not too_fast and not too_slow:
        return None
    usual = f"usual here {low:.1f} to {high:.1f}" if limits else f"expected {low:.1f} to {high:.1f}"
    what = "more text than can be said" if too_fast else "less text than the clip has room for"
    return Problem(
        "speech rate",
        f"{num_characters / seconds:.1f} characters a second, {usual}; {what}, "
        "check that text and audio belong together",
    )
