"""Rules that tell unusable clips, texts and pairings: each has a name, can be switched, and gives a reason.

A rule is on by default only where it leaves sound corpora alone: telephone speech, short prompts, loud and
quiet speakers, scripts with few characters a word. There is no rule for a wrong sample rate in a header:
narrow bands are common and harmless, and what plays at the wrong speed shows in the speech rate.

Of 1,673 Asterisk prompts in Italian, English and Russian the rules in force by default reject five: four
texts with bracketed words that nobody says, and one word with Latin letters among Cyrillic ones.
"""

import difflib
import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from utils.audio import SAMPLE_RATE, to_int16
from utils.errors import UserError
from utils.text import clean_text
from utils.utterances import text_problem

# This module is imported by every worker process: nothing heavier than numpy belongs here.


@dataclass(frozen=True)
class Rule:
    """What a rule rejects, and whether it is on unless switched."""

    description: str
    default: bool = True


RULES = {
    "truncated": Rule("the file ends before its header says, or decoding breaks off"),
    "silent": Rule("no sound, or next to none"),
    "dc_offset": Rule("the samples lie far off the middle, as from a broken converter"),
    "clipped": Rule("a good part of the samples are cut flat at the top"),
    "steady_sound": Rule("the level never changes, as of noise or a tone", False),
    "no_words": Rule("the text is punctuation and symbols only"),
    "markup": Rule("tags, links, bracketed notes such as [noise] or (laughter)"),
    "digits": Rule("numbers are written as digits, which is a choice and no fault", False),
    "wrong_script": Rule("most letters are of a script that the language is not written in"),
    "lookalike_letters": Rule("a word mixes Latin and Cyrillic letters that look the same"),
    "repeated_text": Rule("most of the text is one phrase said six times or more in a row"),
    "speech_rate": Rule("far more or fewer characters a second than is usual in the corpus"),
    "duplicate": Rule("the clip has the very samples of another one"),
}
"""Every rule by its name, which is the kind of its rejects with underscores for spaces."""


def choose_rules(skip: Iterable[str] = (), add: Iterable[str] = ()) -> frozenset[str]:
    """The names of the rules in force: those on by default without `skip`, with `add`.

    Raises:
        UserError: A name is no rule's.
    """
    skipped, added = set(skip), set(add)
    unknown = sorted((skipped | added) - RULES.keys())
    if unknown:
        nearest = difflib.get_close_matches(unknown[0], RULES, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else "."
        raise UserError(f"unknown rules: {', '.join(unknown)}; expected some of {', '.join(RULES)}{hint}")
    return frozenset(name for name, rule in RULES.items() if rule.default or name in added) - skipped


# ---- audio -------------------------------------------------------------------------------------------------

WINDOW = SAMPLE_RATE // 10  # 100 ms
SILENCE_DBFS = -60.0  # there speech has some 30 steps of 16 bits; the quietest of the prompts has -25
OFFSET_LIMIT = 0.1
# Word error rate of Whisper base on 37 English prompts, overdriven until so much was cut (median share):
# 0 % 4.9, 3 % 4.6, 19 % 8.7, 37 % 14.7, 53 % 24.9.
CLIPPED_SHARE = 0.15
CLIPPED_PEAK = 0.1  # below, the steps of 8-bit recordings look like flat tops
STEADY_RANGE_DB = 4.0  # the least of the prompts is 15.8, white noise has 1.1
STEADY_MIN_DURATION = 0.5  # a single vowel may well be steady
FRAME = SAMPLE_RATE // 50  # 20 ms


def check_clip(samples: np.ndarray, rules: frozenset[str]) -> str | None:
    """Why a clip cannot be learnt from, by the first of the rules in force that says so, or None.

    Args:
        samples: (samples,) float32 at 16 kHz, at least one.
        rules: Names from `RULES`.
    """
    reasons = (check(samples) for name, check in _CLIP_CHECKS.items() if name in rules)
    return next(filter(None, reasons), None)


def _find_silence(samples: np.ndarray) -> str | None:
    loudest = loudest_level(samples)
    if loudest == -math.inf:
        return "silent: digital silence, every sample is 0"
    if loudest < SILENCE_DBFS:
        return (
            f"silent: the loudest 100 ms have {loudest:.0f} dBFS, expected at least {SILENCE_DBFS:.0f}; "
            "check the recording, or amplify it"
        )
    return None


def loudest_level(samples: np.ndarray) -> float:
    """Level of the loudest 100 ms in dB below full scale, without its mean; -inf for digital silence."""
    windows = _in_frames(samples, min(WINDOW, len(samples)))
    return 10 * math.log10(power) if (power := float(windows.var(axis=1).max())) > 0 else -math.inf


def _find_offset(samples: np.ndarray) -> str | None:
    mean = float(samples.mean(dtype=np.float64))
    if abs(mean) <= OFFSET_LIMIT:
        return None
    return f"DC offset: the mean is {mean:+.2f} of full scale, expected 0; filter the recording"


def _find_clipping(samples: np.ndarray) -> str | None:
    share = clipped_share(samples)
    if share <= CLIPPED_SHARE:
        return None
    return (
        f"clipped: {share:.1%} of the samples are cut flat at the top, expected at most {CLIPPED_SHARE:.0%}; "
        "record at a lower level"
    )


def clipped_share(samples: np.ndarray) -> float:
    """Share of the samples that stand side by side at the top, where they pile up there; else 0.

    Undistorted sound grows rarer towards its maximum. Sound that was cut has a peak at the end of its
    histogram, also after it was resampled or made quieter.
    """
    level = np.abs(samples)
    top = min(float(level.max()), 1.0)
    if top < CLIPPED_PEAK:
        return 0.0
    at_the_top = level >= 0.98 * top
    flat = float(np.mean(at_the_top[1:] & at_the_top[:-1])) if len(level) > 1 else 0.0
    just_below = float(np.mean((level >= 0.94 * top) & (level < 0.98 * top)))
    return flat if flat > 2 * just_below else 0.0


def _find_steady_sound(samples: np.ndarray) -> str | None:
    if len(samples) < STEADY_MIN_DURATION * SAMPLE_RATE:
        return None
    power = np.square(_in_frames(samples, FRAME)).mean(axis=1)
    low, high = np.percentile(10 * np.log10(np.maximum(power, 1e-12)), [5, 95])
    if high - low >= STEADY_RANGE_DB:
        return None
    return f"steady sound: the level varies by {high - low:.1f} dB only, as of noise or a tone; no speech"


def _in_frames(samples: np.ndarray, length: int) -> np.ndarray:
    """(samples,) as (frames, length); what is left at the end is dropped."""
    return samples[: len(samples) // length * length].reshape(-1, length)


_CLIP_CHECKS: dict[str, Callable[[np.ndarray], str | None]] = {
    "silent": _find_silence,
    "dc_offset": _find_offset,
    "clipped": _find_clipping,
    "steady_sound": _find_steady_sound,
}


def content_hash(samples: np.ndarray) -> bytes:
    """16 bytes that are equal for clips of equal 16-bit samples: (samples,) float32."""
    return hashlib.blake2b(to_int16(samples).astype("<i2").tobytes(), digest_size=16).digest()


# ---- text --------------------------------------------------------------------------------------------------

LONGEST_TEXT = 5000
"""Characters of a clip's text: 30 s of the fastest speech have some 1,000, a full label some 2,000."""

# Notes in [], {}, <> or **, and texts that stand in () altogether: Whisper's own normaliser drops these.
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

LATIN_NAME = 20  # letters: a product or a company is often the whole text, in Latin letters in any language

REPEATS = 6
REPEATED_LETTERS = 4  # of a phrase; "no no no no no no" is how people speak
REPEATS_OF_ANYTHING = 20

SCRIPTS = {
    "LATIN": "en de es fr pt tr pl ca nl sv it id fi vi ms cs ro da hu no hr lt la mi cy sk lv sr az sl et "
    "br eu is bs kk sq sw gl sn yo so af oc uz fo ht tk nn mt lb tl mg tt haw ln ha jw su",
    "CYRILLIC": "ru uk bg sr mk mn bs kk be tg az uz tk tt ba",
    "ARABIC": "ar fa ur ps sd ms pa az kk uz ha",
    "HEBREW": "he yi",
    "GREEK": "el",
    "ARMENIAN": "hy",
    "GEORGIAN": "ka",
    "ETHIOPIC": "am",
    "DEVANAGARI": "hi mr ne sa sd",
    "BENGALI": "bn as",
    "GURMUKHI": "pa",
    "GUJARATI": "gu",
    "TAMIL": "ta",
    "TELUGU": "te",
    "KANNADA": "kn",
    "MALAYALAM": "ml",
    "SINHALA": "si",
    "THAI": "th",
    "LAO": "lo",
    "KHMER": "km",
    "MYANMAR": "my",
    "TIBETAN": "bo",
    "MONGOLIAN": "mn",
    "JAVANESE": "jw",
    "SUNDANESE": "su",
    "HANGUL": "ko",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "BOPOMOFO": "zh yue",
    "CJK": "zh yue ja ko",
}
"""The scripts Whisper's languages are written in, as the first word of the Unicode names of their letters."""


def check_text(text: str, language: str | None, rules: frozenset[str]) -> str | None:
    """Why the text of a clip cannot be learnt from, by the first of the rules in force that says so, or None.

    What no rule can allow comes first: nothing left after cleaning, Whisper's control tokens, halves of
    surrogate pairs, more text than any clip can hold.

    Args:
        text: Of one clip of at most 30 s.
        language: Whisper's code, or None where it is not known.
        rules: Names from `RULES`.
    """
    if len(text) > LONGEST_TEXT:
        return f"text too long: {len(text):,} characters, expected at most {LONGEST_TEXT:,} for 30 s"
    if problem := text_problem(clean_text(text)):
        return problem
    checks: dict[str, Callable[[], str | None]] = {
        "no_words": lambda: _find_no_words(text),
        "markup": lambda: _find_markup(text),
        "digits": lambda: _find_digits(text),
        "wrong_script": lambda: _find_wrong_script(text, language),
        "lookalike_letters": lambda: _find_lookalikes(text),
        "repeated_text": lambda: _find_repetition(text),
    }
    return next(filter(None, (check() for name, check in checks.items() if name in rules)), None)


def _find_no_words(text: str) -> str | None:
    if any(character.isalnum() for character in text):
        return None
    return f"no words: the text {_shortened(text)} holds no letter and no digit"


def _find_markup(text: str) -> str | None:
    for what, pattern in MARKUP.items():
        if found := pattern.search(text):
            return f"markup: {what}, {_shortened(found.group())}; write what is said and nothing else"
    return None


def _find_digits(text: str) -> str | None:
    found = re.search(r"\d[\d.,]*", text)
    return f"digits: {_shortened(found.group())}; write numbers as they are spoken" if found else None


def _find_wrong_script(text: str, language: str | None) -> str | None:
    expected = expected_scripts(language) if language else frozenset[str]()
    if not expected:
        return None
    # NFKC: full-width and mathematical letters count as what they stand for
    scripts = Counter(filter(None, map(script_of, unicodedata.normalize("NFKC", text))))
    foreign = {script: count for script, count in scripts.items() if script not in expected}
    num_letters, num_foreign = scripts.total(), sum(foreign.values())
    if 2 * num_foreign <= num_letters or (foreign.keys() == {"LATIN"} and num_letters <= LATIN_NAME):
        return None
    return (
        f"wrong script: {num_foreign} of {num_letters} letters are {_names(foreign)}, "
        f"expected {_names(expected)} for {language}; check the language"
    )


@lru_cache
def expected_scripts(language: str) -> frozenset[str]:
    """The scripts a language is written in; none for a code that Whisper does not know."""
    return frozenset(script for script, codes in SCRIPTS.items() if language in codes.split())


@lru_cache(maxsize=1 << 16)
def script_of(character: str) -> str | None:
    """The script of a letter, or None for all that is no letter or belongs to several."""
    if not unicodedata.category(character).startswith("L"):
        return None
    script = re.split(r"[ -]", unicodedata.name(character, ""))[0]
    return None if script in ("", "MODIFIER", "IDEOGRAPHIC") else script


def _names(scripts: Iterable[str]) -> str:
    return ", ".join(sorted("Han" if script == "CJK" else script.capitalize() for script in scripts))


def _find_lookalikes(text: str) -> str | None:
    for word in WORD.findall(text):
        latin = [letter for letter in word if script_of(letter) == "LATIN"]
        cyrillic = [letter for letter in word if script_of(letter) == "CYRILLIC"]
        wrong, table, script = latin, LATIN_LOOKALIKES, "Latin"
        if len(cyrillic) < len(latin):
            wrong, table, script = cyrillic, CYRILLIC_LOOKALIKES, "Cyrillic"
        # several capitals are an abbreviation with an ending
        if latin and cyrillic and table.issuperset(wrong) and sum(map(str.isupper, wrong)) <= 1:
            return (
                f"lookalike letters: {', '.join(wrong)} in {_shortened(word)} is {script}; correct the word"
            )
    return None


def _find_repetition(text: str) -> str | None:
    phrase, times = longest_repetition(text)
    num_letters = sum(character.isalpha() for character in phrase)
    if times < (REPEATS if num_letters >= REPEATED_LETTERS else REPEATS_OF_ANYTHING):
        return None
    return (
        f"repeated text: {_shortened(phrase.strip())} {times} times in a row, a sign of machine transcripts"
    )


def longest_repetition(text: str) -> tuple[str, int]:
    """The phrase whose repetition fills half of the text or more, and how often it stands there in a row.

    Returns:
        The shortest such phrase, or an empty one and 0.
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


# ---- speech rate -------------------------------------------------------------------------------------------

MIN_RATES = 50
"""Utterances below which a corpus does not show what is usual in it."""

USUAL_WIDTH = 5.0  # robust standard deviations of the logarithm
LEAST_FACTOR = 2.5  # what is usual spans at least so much to both sides
SLOWEST, FASTEST = 0.3, 50.0  # characters a second that nobody falls below or exceeds
PAUSE_ALLOWED = 2.0  # seconds of silence around a short answer
CHARACTERS_ALLOWED = 8  # a clip of one short word may be cut tightly
LETTERS_OF_A_DIGIT = 5  # "7" is spoken "seven"


@dataclass(frozen=True)
class RateLimits:
    """Characters a second: the corpus's median, and what is still usual."""

    usual: float
    low: float
    high: float


def count_characters(text: str) -> int:
    """Letters, vowel signs and digits of a text; spaces and punctuation are not spoken."""
    return sum(unicodedata.category(character)[0] in "LMN" for character in text)


def rate_limits(characters: np.ndarray, seconds: np.ndarray) -> RateLimits | None:
    """What speech rate is usual in a corpus: median and median absolute deviation of its logarithm.

    Utterances of one language belong together: a Chinese character takes as long as three Latin letters.

    Args:
        characters: (utterances,) from `count_characters`.
        seconds: (utterances,) durations of the clips.

    Returns:
        None for fewer than `MIN_RATES` utterances that have any character.
    """
    usable = (characters > 0) & (seconds > 0)
    if usable.sum() < MIN_RATES:
        return None
    rates = np.log(characters[usable] / seconds[usable])
    median = float(np.median(rates))
    # 1.4826: the MAD of a normal distribution in standard deviations
    # (https://doi.org/10.1016/j.jesp.2013.03.013)
    deviation = 1.4826 * float(np.median(np.abs(rates - median)))
    width = max(USUAL_WIDTH * deviation, math.log(LEAST_FACTOR))
    low, high = math.exp(median - width), math.exp(median + width)
    return RateLimits(math.exp(median), max(low, SLOWEST), min(high, FASTEST))


def rate_problem(text: str, seconds: float, limits: RateLimits | None) -> str | None:
    """Why a text cannot be what is said in a clip of this length, or None.

    Both directions are lenient with short utterances, which are mostly pause or cut tightly.

    Args:
        text: Of the clip.
        seconds: Its duration.
        limits: Of the corpus and language; None where there are too few utterances: then only what nobody can
            say is rejected.
    """
    low, high = (limits.low, limits.high) if limits else (SLOWEST, FASTEST)
    num_characters = count_characters(text)
    spoken = num_characters + (LETTERS_OF_A_DIGIT - 1) * sum(character.isdecimal() for character in text)
    too_fast = num_characters - CHARACTERS_ALLOWED > high * seconds
    too_slow = spoken < low * (seconds - PAUSE_ALLOWED)
    if not too_fast and not too_slow:
        return None
    usual = f"usual here {low:.1f} to {high:.1f}" if limits else f"expected {low:.1f} to {high:.1f}"
    what = "more text than can be said" if too_fast else "less text than the clip has room for"
    return (
        f"speech rate: {num_characters / seconds:.1f} characters a second, {usual}; {what}, "
        "check that text and audio belong together"
    )
