"""Transcripts: cleaned for the data, normalised for scoring, counted in tokens for the label limit."""

import json
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache, partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

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


def normalize_text(text: str, normalizer: str = "basic") -> str:
    """Whisper's text normalisation (https://arxiv.org/abs/2212.04356, appendix C).

    Args:
        text: Any text.
        normalizer: `basic` for every language (lower case, no punctuation, no bracketed remarks), or
            `english` (also numbers, contractions and British spellings).

    Raises:
        ValueError: Another normaliser is named.
    """
    return _load_normalizer(normalizer)(text).strip()


@lru_cache
def _load_normalizer(name: str) -> Callable[[str], str]:
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

    if name == "basic":
        return BasicTextNormalizer()
    if name == "english":
        # transformers has the rules without the table of spellings, which stands beside each model on the Hub
        table = resources.files("whisper_normalizer") / "normalizers" / "english.json"
        return EnglishTextNormalizer(json.loads(table.read_text(encoding="utf-8")))
    raise ValueError(f"normalizer {name!r}: expected basic or english.")


def load_token_counter(name_or_path: str) -> Callable[[str], int]:
    """A function that counts the text tokens of a label, from the tokenizer of a model folder or a Hub id.

    Raises:
        UserError: There is no tokenizer.
    """
    from tokenizers import Tokenizer

    file = Path(name_or_path) / "tokenizer.json"
    try:
        # a faster-whisper folder has this file and nothing else that transformers could load
        is_here = file.is_file()
        tokenizer = Tokenizer.from_file(str(file)) if is_here else Tokenizer.from_pretrained(name_or_path)
    except Exception as error:  # tokenizers raises bare Exception, the Hub and the network their own
        raise UserError(
            f"{name_or_path}: no tokenizer found ({type(error).__name__}). Expected a model folder with "
            "tokenizer.json or a model of the Hub; leave --model_name_or_path out to count no tokens."
        ) from error
    return partial(_count_tokens, tokenizer)


def _count_tokens(tokenizer: "Tokenizer", text: str) -> int:
    # Whisper's own texts begin with a space
    return len(tokenizer.encode(f" {text}", add_special_tokens=False).ids)
