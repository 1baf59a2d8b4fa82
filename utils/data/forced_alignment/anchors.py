"""Matches a transcript with the words that a model recognised, and splits the transcript into units.

Words that are in both connect the two. They are called anchors, as in gentle and similar tools. Between two
anchors, the speech may have words that the text does not have, or the text may have words that nobody says.
These words are found and left out, so that they do not shift the times of the others.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

from utils.text.scripts import SPACELESS_SCRIPTS

WEAK_RUN = 12  # characters: a shorter run of equal words may be chance if text and sound are out of step

OUT_OF_STEP = 5  # words that one side has more than the other between two runs

ALIKE = 0.6  # similarity of two spellings that count as the same word, next to words that agree


_CJK_PUNCTUATION = "\u3000-\u303f\uff01-\uff0f\uff1a-\uff20"

_ALONE = SPACELESS_SCRIPTS + _CJK_PUNCTUATION

_PIECE = re.compile(rf"[{_ALONE}]|[^\s{_ALONE}]+")


@dataclass(frozen=True)
class MatchedRun:
    """A run of `length` units that agree with recognised words, from unit number `unit` and word number
    `heard` on.
    """

    unit: int
    heard: int
    length: int


def match_units(keys: Sequence[str], heard: Sequence[str]) -> list[MatchedRun]:
    """Find the runs of equal words by one edit distance between the two whole texts.

    rapidfuzz computes it with bit operations and Hirschberg's algorithm, so it needs little memory even for
    many hours. Runs that may be equal by chance are dropped. The others are extended by similar words.
    """
    blocks = Levenshtein.opcodes(keys, heard)
    runs = [
        MatchedRun(block.src_start, block.dest_start, block.src_end - block.src_start)
        for block in blocks
        if block.tag == "equal"
    ]
    return _grow(_drop_chance(runs, keys, len(heard)), keys, heard)


def _drop_chance(runs: list[MatchedRun], keys: Sequence[str], num_heard: int) -> list[MatchedRun]:
    """Drop short runs where many words are only in the text or only in the speech, for example beside a
    missing paragraph.
    """
    framed = [MatchedRun(0, 0, 0), *runs, MatchedRun(len(keys), num_heard, 0)]
    kept = []
    for index, run in enumerate(runs, start=1):
        before, after = framed[index - 1], framed[index + 1]
        wide = framed[max(index - 2, 0)], framed[min(index + 2, len(framed) - 1)]
        steps = (wide[1].unit - wide[0].unit, wide[1].heard - wide[0].heard)
        in_step = (
            max(_lag(before, run), _lag(run, after)) < OUT_OF_STEP
            and 2 * min(steps) >= max(steps) - OUT_OF_STEP
        )
        characters = sum(len(key) for key in keys[run.unit : run.unit + run.length])
        if in_step or characters >= WEAK_RUN:
            kept.append(run)
    return kept


def _lag(earlier: MatchedRun, later: MatchedRun) -> int:
    """Count how many more words one of the two texts has between two runs than the other."""
    units = later.unit - earlier.unit - earlier.length
    words = later.heard - earlier.heard - earlier.length
    return abs(units - words)


def _grow(runs: list[MatchedRun], keys: Sequence[str], heard: Sequence[str]) -> list[MatchedRun]:
    """Extend each run over words with similar spelling, first backwards, then forwards."""
    grown: list[MatchedRun] = []
    ends = [*((run.unit, run.heard) for run in runs), (len(keys), len(heard))][1:]
    floor = (0, 0)
    for run, limit in zip(runs, ends, strict=True):
        unit, word, length = run.unit, run.heard, run.length
        while unit > floor[0] and word > floor[1] and _alike(keys[unit - 1], heard[word - 1]):
            unit, word, length = unit - 1, word - 1, length + 1
        while (
            unit + length < limit[0]
            and word + length < limit[1]
            and _alike(keys[unit + length], heard[word + length])
        ):
            length += 1
        grown.append(MatchedRun(unit, word, length))
        floor = unit + length, word + length
    return grown


def _alike(key: str, heard: str) -> bool:
    return key == heard or Levenshtein.normalized_similarity(key, heard) >= ALIKE


@dataclass(frozen=True)
class Unit:
    """A word, or a character in scripts without spaces.

    `start` and `end` are its character offsets in the text, including punctuation. `key` is used to compare
    it. It has its letters and digits in lower case.
    """

    start: int
    end: int
    key: str


@dataclass(frozen=True)
class Heard:
    """The key of a word that the model transcribed, and its times in seconds."""

    key: str
    start: float
    end: float


def split_transcript(text: str) -> list[Unit]:
    """Cut a text into units. Every character except whitespace belongs to one unit.

    Marks and vowel signs belong to their character. Punctuation belongs to the word that it touches. If it
    touches none, it belongs to the word before.
    """
    units: list[Unit] = []
    waiting: int | None = None  # start of punctuation that belongs to no unit yet
    for piece in _PIECE.finditer(text):
        key, last = unit_key(piece.group()), units[-1] if units else None
        touches = last is not None and last.end == piece.start()
        has_base = any(unicodedata.category(character)[0] in "LN" for character in piece.group())
        if key and (has_base or not touches):
            units.append(Unit(piece.start() if waiting is None else waiting, piece.end(), key))
            waiting = None
        elif last is not None and waiting is None and (touches or not _opens(text, piece.end())):
            units[-1] = Unit(last.start, piece.end(), last.key + key)
        elif waiting is None:
            waiting = piece.start()
    if units and waiting is not None:
        units[-1] = Unit(units[-1].start, len(text.rstrip()), units[-1].key)
    return units


def _opens(text: str, end: int) -> bool:
    """Check whether punctuation that ends here touches the word after it."""
    return end < len(text) and not text[end].isspace()


def unit_key(word: str) -> str:
    """Return the letters, digits and their marks in lower case."""
    folded = unicodedata.normalize("NFKC", word).casefold()
    return "".join(c for c in folded if unicodedata.category(c)[0] in "LNM")
