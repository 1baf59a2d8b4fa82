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

# Thai, Lao, Tibetan, Burmese, Khmer, kana, Han: no spaces between words
SPACELESS_SCRIPTS = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_SPACELESS_CHARACTER = re.compile(f"[{SPACELESS_SCRIPTS}]")
_SPACE_IN_SPACELESS = re.compile(f"(?<=[{SPACELESS_SCRIPTS}]) (?=[{SPACELESS_SCRIPTS}])")
_SPACE_BESIDE_SPACELESS = re.compile(f"(?<=[{SPACELESS_SCRIPTS}]) | (?=[{SPACELESS_SCRIPTS}])")

# remarks as Whisper's basic normaliser knows them
_BRACKETED = re.compile(r"[<\[][^>\]]*[>\]]")
_PARENTHESIZED = re.compile(r"\([^)]+?\)")

ZERO_WIDTH_SPACE = "\u200b"  # marks words in Khmer and Thai, unseen
_HALF_SPACE = re.compile("([\u0620-\u06d3\u06fa-\u06ff\u0750-\u077f][\u064b-\u0652]*)\u200c")
# tatweel, the combining grapheme joiner, variation selectors
_NOT_SPELT = frozenset("\u0640\u034f" + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))))
# letter, virama and joiner, as Malayalam was written before Unicode 5.1, and the letter since
_CHILLUS = {
    "\u0d23\u0d4d\u200d": "\u0d7a",
    "\u0d28\u0d4d\u200d": "\u0d7b",
    "\u0d30\u0d4d\u200d": "\u0d7c",
    "\u0d32\u0d4d\u200d": "\u0d7d",
    "\u0d33\u0d4d\u200d": "\u0d7e",
    "\u0d15\u0d4d\u200d": "\u0d7f",
}


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
    """A text as it is scored: two spellings that this makes equal are no error.

    Args:
        text: Any text.
        normalizer: `basic` and `english` are Whisper's own (https://arxiv.org/abs/2212.04356, appendix C):
            lower case, no punctuation, no bracketed remarks, and for English also numbers, contractions and
            British spellings. `script-safe` is the basic one without its fault that vowel signs, viramas and
            other marks become spaces, which cuts the words of Hindi, Tamil, Thai and many more in pieces
            (https://arxiv.org/abs/2409.02449); see `_normalize_script_safe`.

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
    if name == "script-safe":
        return _normalize_script_safe
    raise ValueError(f"normalizer {name!r}: expected basic, english or script-safe.")


def _normalize_script_safe(text: str) -> str:
    """Whisper's basic normalisation for every script: marks that spell words stay.

    * Marks (Mn, Mc) stay: vowel signs, viramas, tone marks, harakat, niqqud. Variation selectors go.
    * A zero-width non-joiner after an Arabic letter becomes a space: it is Persian's half-space, for which
      writers and models put a space as often (می‌روم, می روم). Elsewhere joiners steer only the shape of
      letters, and go, as in Unicode's NFKC_Casefold; Malayalam's chillus, once spelt with a joiner, become
      the letters they are today. So does everything else that has no width or shape of its own: direction
      marks, soft hyphens, the tatweel that stretches Arabic words.
    * Between two characters of scripts without spaces between words, spaces go: they are layout there, and
      where punctuation stood they would count as characters. Where most of a text is in such a script, so
      do those beside its words of other scripts, which some writers set and some do not.
    """
    text = _PARENTHESIZED.sub("", _BRACKETED.sub("", text.lower()))
    for legacy, chillu in _CHILLUS.items():
        text = text.replace(legacy, chillu)
    composed = unicodedata.normalize("NFKC", _HALF_SPACE.sub(r"\1 ", text)).lower()
    composed = composed.replace("i\u0307", "i")  # what lower() makes of the Turkish capital İ
    kept = " ".join("".join(map(_keep_spelling, composed)).split())
    # composed again: a mark and its letter may have been apart by a character that is gone
    kept = unicodedata.normalize("NFC", _drop_stray_marks(kept))
    layout = _SPACE_BESIDE_SPACELESS if has_spaceless_script(kept) else _SPACE_IN_SPACELESS
    return layout.sub("", kept)


def _keep_spelling(character: str) -> str:
    """The character where it spells words, a space for punctuation and symbols, nothing for the invisible."""
    if character in _NOT_SPELT:
        return ""
    category = unicodedata.category(character)
    if category[0] in "PS" or category in ("Me", "Cc") or character == ZERO_WIDTH_SPACE:
        return " "
    return "" if category == "Cf" else character


def _drop_stray_marks(text: str) -> str:
    """A text of single spaces without marks that have lost their letter, or never had one."""
    words = text.split(" ")
    bare = [
        next((i for i, c in enumerate(word) if unicodedata.category(c)[0] != "M"), None) for word in words
    ]
    return " ".join(word[start:] for word, start in zip(words, bare, strict=True) if start is not None)


def has_spaceless_script(text: str) -> bool:
    """Whether most letters of a text are of a script without spaces between words.

    In such a text a word is whatever stands between two spaces, so that the character error rate tells more
    than the word error rate.
    """
    letters = sum(character.isalpha() for character in text)
    return 2 * len(_SPACELESS_CHARACTER.findall(text)) > letters


def count_words(text: str) -> int:
    """Words between spaces; a character of a script without spaces counts as one."""
    return len(_SPACELESS_CHARACTER.sub(" x ", text).split())


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
