"""Finds texts that cannot be used for training: no words, markup, another script, repetition."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from utils.runtime.problems import Problem
from utils.text.scripts import expected_scripts, script_of

LONGEST_TEXT = 5000
"""Largest number of characters in a clip's text.

30 s of the fastest speech have about 1,000, a full label about 2,000.
"""

# Notes in [], {}, <> or **, and texts that are completely in (): Whisper's own normaliser drops these.
MARKUP = {
    "a tag": re.compile(r"</?[A-Za-z][^<>]*>|<!--|&(?:[A-Za-z]{2,8}|#\d{1,6});"),
    "a link": re.compile(r"\b[A-Za-z]{2,8}://\S+"),
    "a note": re.compile(
        r"\[[^\[\]\w]*\w[^\[\]]*\]|\{[^{}\w]*\w[^{}]*\}|(?<!\w)\*+[^\W\d_][^*]*\*+(?!\w)|^\W*\([^()]*\)\W*$"
    ),
}

LATIN_LOOKALIKES = frozenset("ABCEHKMOPTXYaceopxy")

CYRILLIC_LOOKALIKES = frozenset("АВСЕНКМОРТХУасеорху")

WORD = re.compile(r"[^\W\d_]+")

LATIN_NAME = 20  # letters: in any language, a whole text can be a product or company name in Latin letters

REPEATS = 6

REPEATED_LETTERS = 4  # in a phrase; people do say "no no no no no no"

REPEATS_OF_ANYTHING = 20


def check_text(text: str, language: str | None, rules: frozenset[str]) -> Problem | None:
    """Check the text of a clip by the rules that are turned on.

    Return the problem that the first matching rule finds, or None. The first check cannot be turned off: the
    text must not be longer than any clip can be.

    Args:
        text: Text of one clip of at most 30 s, cleaned (`usable_text`).
        language: Whisper's code, or None if unknown.
        rules: Names from `RULES`.
    """
    if len(text) > LONGEST_TEXT:
        return Problem(
            "text too long", f"{len(text):,} characters, expected at most {LONGEST_TEXT:,} for 30 s"
        )
    checks: dict[str, Callable[[], Problem | None]] = {
        "no_words": lambda: _find_no_words(text),
        "markup": lambda: _find_markup(text),
        "digits": lambda: _find_digits(text),
        "wrong_script": lambda: _find_wrong_script(text, language),
        "lookalike_letters": lambda: _find_lookalikes(text),
        "repeated_text": lambda: _find_repetition(text),
    }
    return next(filter(None, (check() for name, check in checks.items() if name in rules)), None)


def _find_no_words(text: str) -> Problem | None:
    if any(character.isalnum() for character in text):
        return None
    return Problem("no words", f"the text {_shortened(text)} has no letter and no digit")


def _find_markup(text: str) -> Problem | None:
    for what, pattern in MARKUP.items():
        if found := pattern.search(text):
            return Problem("markup", f"{what}, {_shortened(found.group())}; write only what is said")
    return None


def _find_digits(text: str) -> Problem | None:
    found = re.search(r"\d[\d.,]*", text)
    if not found:
        return None
    return Problem("digits", f"{_shortened(found.group())}; write numbers as spoken words")


def _find_wrong_script(text: str, language: str | None) -> Problem | None:
    expected = expected_scripts(language) if language else frozenset[str]()
    if not expected:
        return None
    # NFKC: full-width and mathematical letters count as the letters that they stand for
    scripts = Counter(filter(None, map(script_of, unicodedata.normalize("NFKC", text))))
    foreign = {script: count for script, count in scripts.items() if script not in expected}
    num_letters, num_foreign = scripts.total(), sum(foreign.values())
    if 2 * num_foreign <= num_letters or (foreign.keys() == {"LATIN"} and num_letters <= LATIN_NAME):
        return None
    return Problem(
        "wrong script",
        f"{num_foreign} of {num_letters} letters are {_names(foreign)}, "
        f"expected {_names(expected)} for {language}; check the language",
    )


def _names(scripts: Iterable[str]) -> str:
    return ", ".join(sorted("Han" if script == "CJK" else script.capitalize() for script in scripts))


def _find_lookalikes(text: str) -> Problem | None:
    for word in WORD.findall(text):
        latin = [letter for letter in word if script_of(letter) == "LATIN"]
        cyrillic = [letter for letter in word if script_of(letter) == "CYRILLIC"]
        wrong, table, script = latin, LATIN_LOOKALIKES, "Latin"
        if len(cyrillic) < len(latin):
            wrong, table, script = cyrillic, CYRILLIC_LOOKALIKES, "Cyrillic"
        # a word with several capitals is an abbreviation with an ending
        if latin and cyrillic and table.issuperset(wrong) and sum(map(str.isupper, wrong)) <= 1:
            return Problem(
                "lookalike letters", f"{', '.join(wrong)} in {_shortened(word)} is {script}; correct the word"
            )
    return None


def _find_repetition(text: str) -> Problem | None:
    phrase, times = longest_repetition(text)
    num_letters = sum(character.isalpha() for character in phrase)
    if times < (REPEATS if num_letters >= REPEATED_LETTERS else REPEATS_OF_ANYTHING):
        return None
    return Problem(
        "repeated text", f"{_shortened(phrase.strip())} {times} times in a row; check this transcript"
    )


def longest_repetition(text: str) -> tuple[str, int]:
    """Find a phrase whose repetitions are at least half of the text. Count how often it is repeated in a row.

    Returns:
        The shortest such phrase, or an empty phrase and 0.
    """
    codes = np.frombuffer(f"{text.casefold()} ".encode("utf-32-le", errors="replace"), dtype=np.uint32)
    for period in range(1, len(codes) // REPEATS + 1):
        differs = np.flatnonzero(codes[period:] != codes[:-period])
        edges = np.concatenate([[-1], differs, [len(codes) - period]])
        longest = int(np.diff(edges).argmax())
        start, length = int(edges[longest]) + 1, int(edges[longest + 1] - edges[longest]) - 1 + period
        if length >= REPEATS * period and 2 * length >= len(codes):
            return codes[start : start + period].tobytes().decode("utf-32-le"), length // period
    return "", 0


def _shortened(text: str) -> str:
    return repr(text) if len(text) <= 40 else repr(f"{text[:37]}...")
