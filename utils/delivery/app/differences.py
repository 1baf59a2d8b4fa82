"""Find the words in which two transcripts of one recording differ."""

import unicodedata
from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein


def differing_words(first: Sequence[str], second: Sequence[str]) -> tuple[set[int], set[int]]:
    """Return the places of the words that only one of two texts has, for each text.

    Case and punctuation do not count, unless a word has nothing else.
    """
    keys = [_key(word) for word in first], [_key(word) for word in second]
    places: tuple[set[int], set[int]] = (set(), set())
    for block in Levenshtein.opcodes(*keys):
        if block.tag != "equal":
            places[0].update(range(block.src_start, block.src_end))
            places[1].update(range(block.dest_start, block.dest_end))
    return places


def _key(word: str) -> str:
    # marks stay: in many scripts they are vowels
    kept = "".join(character for character in word.casefold() if character.isalnum() or _is_mark(character))
    return kept or word.strip()


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")
