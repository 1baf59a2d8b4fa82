"""Find loops. A decoder in a loop repeats the same tokens until it is stopped."""

import re
from collections.abc import Sequence

LONGEST_PERIOD = 32  # tokens

LEAST_REPEATS = 7  # so that `find_loop` sees six in the text, whichever tokens a character takes

SIX_TIMES, SENTENCE_FOUR_TIMES = r"(.{2,60}?)\1{5,}", r"(.{20,200}?)\2{3,}"

REPEATED = re.compile(f"{SIX_TIMES}|{SENTENCE_FOUR_TIMES}", re.DOTALL)

LEAST_TOKENS = 48  # nobody repeats so much in 30 s; one token must repeat 48 times


def loop_period(tokens: Sequence[int]) -> int | None:
    """Return how many tokens the pattern has that repeats at the end of a hypothesis. None if there is no
    loop.

    A loop is a pattern of at most 32 tokens that fills the last 48 tokens or more, at least 7 times.
    """
    for period in range(1, min(LONGEST_PERIOD, len(tokens) // LEAST_REPEATS) + 1):
        length = max(LEAST_TOKENS, LEAST_REPEATS * period)
        if len(tokens) < length:
            return None
        if all(tokens[-place] == tokens[-place - period] for place in range(1, length - period + 1)):
            return period
    return None


def find_loop(text: str) -> str | None:
    """Return the phrase that a text repeats at least 6 times in a row, or the sentence that it repeats 4
    times.
    """
    found = REPEATED.search(text)
    return found[1] or found[2] if found else None
