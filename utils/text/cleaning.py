"""Transcripts as the data holds them: one form of each character, one space between words."""

import re
import unicodedata

CONTROL_TOKEN = re.compile(r"<\|[^|>]*\|>")
"""Whisper's special tokens as text, `<|endoftext|>` or `<|0.00|>`: in a label they would steer the model."""


def clean_text(text: str) -> str:
    """Compose characters (NFC), drop control characters and byte order marks, make every gap one space."""
    composed = unicodedata.normalize("NFC", text)
    # whitespace first: tabs and line ends are control characters too, and must leave a gap
    spaced = " ".join(composed.split())
    # only Cc: format characters (Cf) such as the zero-width non-joiner spell words in Persian
    kept = "".join(c for c in spaced if c != "\ufeff" and unicodedata.category(c) != "Cc")
    return " ".join(kept.split())


def simplify_text(text: str, *, lower_case: bool, remove_punctuation: bool) -> str:
    """A text as a model is to write it that learns no capitals, or no punctuation.

    Apostrophes after a letter (l'ora, un po') and hyphens or dots between letters (porta-voce, col·legi)
    spell words and stay; so do vowel signs and other marks, which Whisper's normaliser would strip.

    Returns:
        The text with single spaces; empty where there was nothing but punctuation.
    """
    if remove_punctuation:
        spelt = [c if _spells(text, place) else " " for place, c in enumerate(text)]
        text = "".join(spelt)
    if lower_case:
        text = unicodedata.normalize("NFC", text.lower())
    return " ".join(text.split())


def _spells(text: str, place: int) -> bool:
    """Whether the character at this place is no punctuation, or belongs to a word."""
    character = text[place]
    if not unicodedata.category(character).startswith("P"):
        return True
    follows = place > 0 and unicodedata.category(text[place - 1])[0] in "LMN"
    precedes = place + 1 < len(text) and unicodedata.category(text[place + 1])[0] in "LMN"
    return follows and (character in "'’" or (character in "-‐‑·" and precedes))
