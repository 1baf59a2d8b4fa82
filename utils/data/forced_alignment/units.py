"""Words of a transcript and words that a model heard, in a form that can be compared."""

import re
import unicodedata
from dataclasses import dataclass

from utils.text.scripts import SPACELESS_SCRIPTS

_CJK_PUNCTUATION = "\u3000-\u303f\uff01-\uff0f\uff1a-\uff20"

_ALONE = SPACELESS_SCRIPTS + _CJK_PUNCTUATION

_PIECE = re.compile(rf"[{_ALONE}]|[^\s{_ALONE}]+")


@dataclass(frozen=True)
class Unit:
    """A word, or a character where words are not parted by spaces.

    `start` and `end` are its character offsets in the text, punctuation included; `key` is what is compared:
    its letters and digits in lower case.
    """

    start: int
    end: int
    key: str


@dataclass(frozen=True)
class Heard:
    """The key of a word that the model wrote down, and when it heard it, in seconds."""

    key: str
    start: float
    end: float


def split_transcript(text: str) -> list[Unit]:
    """Cut a text into units; all of it but whitespace belongs to one.

    Marks and vowel signs stay with their character, punctuation with the word it touches, or else with the
    one before.
    """
    units: list[Unit] = []
    waiting: int | None = None  # where punctuation began that no unit has yet
    for piece in _PIECE.finditer(text):
        key, last = unit_key(piece.group()), units[-1] if units else None
        touches = last is not None and last.end == piece.start()
        if key and not (touches and not _has_base(piece.group())):
            units.append(Unit(piece.start() if waiting is None else waiting, piece.end(), key))
            waiting = None
        elif last is not None and waiting is None and (touches or not _opens(text, piece.end())):
            units[-1] = Unit(last.start, piece.end(), last.key + key)
        elif waiting is None:
            waiting = piece.start()
    if units and waiting is not None:
        units[-1] = Unit(units[-1].start, len(text.rstrip()), units[-1].key)
    return units


def _has_base(piece: str) -> bool:
    return any(unicodedata.category(character)[0] in "LN" for character in piece)


def _opens(text: str, end: int) -> bool:
    """Whether punctuation that ends here touches the word after it."""
    return end < len(text) and not text[end].isspace()


def unit_key(word: str) -> str:
    """Letters, digits and their marks in lower case."""
    folded = unicodedata.normalize("NFKC", word).casefold()
    return "".join(c for c in folded if unicodedata.category(c)[0] in "LNM")
