"""Normalise transcripts before scoring, so that variants of spelling do not count as errors."""

import itertools
import json
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from importlib import resources

from utils.text.scripts import SPACELESS_CHARACTER, drop_layout_spaces

# remarks as Whisper's basic normaliser knows them
_BRACKETED = re.compile(r"[<\[][^>\]]*[>\]]")

_PARENTHESIZED = re.compile(r"\([^)]+?\)")

ZERO_WIDTH_SPACE = "\u200b"  # separates words in Khmer and Thai, invisible

_HALF_SPACE = re.compile("([\u0620-\u06d3\u06fa-\u06ff\u0750-\u077f][\u064b-\u0652]*)\u200c")

# tatweel, the combining grapheme joiner, variation selectors
_NOT_SPELT = frozenset("\u0640\u034f" + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))))

# a letter with virama and joiner, as Malayalam was written before Unicode 5.1, and the letter since
_CHILLUS = dict(
    zip("\u0d23\u0d28\u0d30\u0d32\u0d33\u0d15", "\u0d7a\u0d7b\u0d7c\u0d7d\u0d7e\u0d7f", strict=True)
)


def normalize_text(text: str, normalizer: str = "basic") -> str:
    """Normalise a text before scoring. Differences that this removes do not count as errors.

    Args:
        text: Any text.
        normalizer: `basic` and `english` are Whisper's own (https://arxiv.org/abs/2212.04356, appendix C):
            lower case, no punctuation, no bracketed remarks, and for English also numbers, contractions and
            British spellings. `basic` has a fault: it turns vowel signs, viramas and other marks into spaces.
            This splits words of Hindi, Tamil, Thai and many more languages
            (https://arxiv.org/abs/2409.02449). `script-safe` is `basic` without this fault; see
            `_normalize_script_safe`.

    Raises:
        ValueError: The normaliser is unknown.
    """
    return _load_normalizer(normalizer)(text).strip()


@lru_cache
def _load_normalizer(name: str) -> Callable[[str], str]:
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

    if name == "basic":
        return BasicTextNormalizer()
    if name == "english":
        # transformers has the rules but not the table of spellings, which is with each model on the Hub
        table = resources.files("whisper_normalizer") / "normalizers" / "english.json"
        return EnglishTextNormalizer(json.loads(table.read_text(encoding="utf-8")))
    if name == "script-safe":
        return _normalize_script_safe
    raise ValueError(f"normalizer {name!r}: expected basic, english or script-safe.")


def _normalize_script_safe(text: str) -> str:
    """Normalise as Whisper's `basic` does, but keep the marks of all scripts that belong to spelling.

    * Marks (Mn, Mc) stay: vowel signs, viramas, tone marks, harakat, niqqud. Variation selectors are removed.
    * A zero-width non-joiner after an Arabic letter becomes a space: it is Persian's half-space, and many
      writers and models use a space instead (می‌روم, می روم). In other places, joiners only change the shape
      of letters. They are removed, as in Unicode's NFKC_Casefold. Malayalam's chillus were once spelt with a
      joiner; these become the letters used today. Other characters without a width or shape of their own are
      removed too: direction marks, soft hyphens, the tatweel that stretches Arabic words.
    * Some scripts have no spaces between words. Spaces between two characters of such a script are removed:
      they are only layout, and those left by removed punctuation would count as characters. If most of a text
      is in such a script, spaces beside its words of other scripts are removed too, because only some writers
      use them.
    """
    text = _PARENTHESIZED.sub("", _BRACKETED.sub("", text.lower()))
    for letter, chillu in _CHILLUS.items():
        text = text.replace(letter + "\u0d4d\u200d", chillu)
    composed = unicodedata.normalize("NFKC", _HALF_SPACE.sub(r"\1 ", text)).lower()
    composed = composed.replace("i\u0307", "i")  # what lower() makes of the Turkish capital İ
    kept = " ".join("".join(map(_keep_spelling, composed)).split())
    # composed again: a removed character may have separated a mark from its letter
    kept = unicodedata.normalize("NFC", _drop_stray_marks(kept))
    return drop_layout_spaces(kept)


def _keep_spelling(character: str) -> str:
    """Return the character if it is part of a word, a space if it is punctuation or a symbol, "" if it is
    invisible.
    """
    if character in _NOT_SPELT:
        return ""
    category = unicodedata.category(character)
    if category[0] in "PS" or category in ("Me", "Cc") or character == ZERO_WIDTH_SPACE:
        return " "
    return "" if category == "Cf" else character


def _drop_stray_marks(text: str) -> str:
    """Remove marks without a letter from a text of single spaces."""
    words = ("".join(itertools.dropwhile(_is_mark, word)) for word in text.split(" "))
    return " ".join(filter(None, words))


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M"


def count_words(text: str) -> int:
    """Count the words between spaces. In a script without spaces, each character counts as a word."""
    return len(SPACELESS_CHARACTER.sub(" x ", text).split())
