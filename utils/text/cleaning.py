"""Clean transcripts: one form of each character, one space between words."""

import re
import unicodedata

CONTROL_TOKEN = re.compile(r"<\|[^|>]*\|>")
"""Whisper's special tokens written as text, such as `<|endoftext|>` or `<|0.00|>`.

Labels must not contain them.
"""


def clean_text(text: str) -> str:
    """Compose characters (NFC), drop control characters and byte order marks, make every gap one space."""
    composed = unicodedata.normalize("NFC", text)
    # whitespace first: tabs and line ends are control characters too, and must leave a gap
    spaced = " ".join(composed.split())
    # only Cc: format characters (Cf) such as the zero-width non-joiner spell words in Persian
    kept = "".join(c for c in spaced if c != "\ufeff" and unicodedata.category(c) != "Cc")
    return " ".join(kept.split())
