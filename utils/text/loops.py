"""Loops: a decoder that says the same again and again until something stops it."""

import re
from collections.abc import Sequence

LONGEST_PERIOD = 32  # tokens

LEAST_REPEATS = 7  # so that `find_loop` sees six in the text, whichever tokens a character takes

SIX_TIMES, SENTENCE_FOUR_TIMES = r"(.{2,60}?)\1{5,}", r"(.{20,200}?)\2{3,}"

REPEATED = re.compile(f"{SIX_TIMES}|{SENTENCE_FOUR_TIMES}", re.DOTALL)

LEAST_TOKENS = 48  # nobody says so much of the same in 30 s: of one token alone, 48 repeats are asked for


def loop_period(tokens: Sequence[int]) -> int | None:
    """Tokens after which the end of a hypothesis repeats itself, or None where it does not.

    A loop is a pattern of at most 32 tokens that fills the last 48 tokens or more, at least seven times over.
    """
    for period in range(1, min(LONGEST_PERIOD, len(tokens) // LEAST_REPEATS) + 1):
        length = max(LEAST_TOKENS, LEAST_REPEATS * period)
        if len(tokens) < length:
            return None
        if all(tokens[-place] == tokens[-place - period] for place in range(1, length - period + 1)):
            return period
    return None


def find_loop(text: str) -> str | None:
    """What a text says six times in a row or more, a sentence four times; None where it does not."""
    found = REPEATED.search(text)
    return found[1] or found[2] if found else None
