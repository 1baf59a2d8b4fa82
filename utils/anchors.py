"""A transcript tied to what a model heard: which words are the same, and where text and sound can be cut.

Words that both have, the anchors of gentle and similar tools, hold the two together. Between two of them the
sound may have more than the text, or the other way round; that is found here and left out, so that it shifts
nothing else.
"""

import itertools
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz.distance import Levenshtein

from utils.text import SPACELESS_SCRIPTS

WEAK_RUN = 12  # characters: a shorter run of equal words may be chance where the two are out of step
OUT_OF_STEP = 5  # words that one side has more than the other between two runs
ALIKE = 0.6  # similarity of two spellings that count as one word right beside words that agree
SPARE = 5.0  # seconds of heard words without text that are taken for foreign sound
STEADY = 3  # words tied on both sides of a place make it as safe to cut as it gets
DEFAULT_PACE = 0.07  # seconds a character

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


@dataclass(frozen=True)
class Run:
    """`length` units from `unit` on agree with as many heard words from `heard` on."""

    unit: int
    heard: int
    length: int


@dataclass(frozen=True)
class Stretch:
    """Units `first` to `last` - 1, spoken between `start` and `end` seconds."""

    first: int
    last: int
    start: float
    end: float


Cut = Callable[[float, float], tuple[float, float]]
"""Given where a word ends and the next begins: where the stretch before ends and the one after begins."""


# ---- units -------------------------------------------------------------------------------------------------


def split_units(text: str) -> list[Unit]:
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


# ---- words that agree --------------------------------------------------------------------------------------


def match_units(keys: Sequence[str], heard: Sequence[str]) -> list[Run]:
    """Find the runs of equal words by one edit distance over both whole texts.

    rapidfuzz computes it in bits and by Hirschberg's division, so that memory stays flat even for the words
    of many hours. Runs that may be chance are dropped, and the others grow over words spelt alike.
    """
    blocks = Levenshtein.opcodes(keys, heard)
    runs = [
        Run(block.src_start, block.dest_start, block.src_end - block.src_start)
        for block in blocks
        if block.tag == "equal"
    ]
    return _grow(_drop_chance(runs, keys, len(heard)), keys, heard)


def _drop_chance(runs: list[Run], keys: Sequence[str], num_heard: int) -> list[Run]:
    """Drop short runs where text and sound are out of step, as beside a paragraph that only one side has."""
    framed = [Run(0, 0, 0), *runs, Run(len(keys), num_heard, 0)]
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


def _lag(earlier: Run, later: Run) -> int:
    """How many more words one side has between two runs than the other."""
    units = later.unit - earlier.unit - earlier.length
    words = later.heard - earlier.heard - earlier.length
    return abs(units - words)


def _grow(runs: list[Run], keys: Sequence[str], heard: Sequence[str]) -> list[Run]:
    """Lengthen each run over words spelt alike, first forwards, then backwards."""
    grown: list[Run] = []
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
        grown.append(Run(unit, word, length))
        floor = unit + length, word + length
    return grown


def _alike(key: str, heard: str) -> bool:
    return key == heard or Levenshtein.normalized_similarity(key, heard) >= ALIKE


# ---- cutting both ------------------------------------------------------------------------------------------


def plan_stretches(
    units: Sequence[Unit],
    num_tokens: Sequence[int],
    runs: Sequence[Run],
    heard: Sequence[Heard],
    duration: float,
    cut: Cut,
    *,
    shortest: float,
    longest: float,
    most_tokens: int,
) -> list[Stretch]:
    """Cut transcript and recording together into stretches that the model can hold.

    Args:
        units: Those of the whole transcript.
        num_tokens: Label tokens of each unit.
        runs: From `match_units`, in order.
        heard: What the runs' `heard` counts.
        duration: Seconds of the recording.
        cut: Finds the silence between two words.
        shortest: A stretch is not cut earlier than this unless it must, in seconds.
        longest: Most seconds of a stretch.
        most_tokens: Most tokens of one.

    Returns:
        Stretches in order. Units in none of them are not spoken where they should be.
    """
    links = [(run.unit + k, run.heard + k) for run in runs for k in range(run.length)]
    pace = _seconds_per_character(units, links, heard)
    stretches: list[Stretch] = []
    for passage in _find_passages(units, links, heard, pace, duration, cut):
        inside = [(unit, word) for unit, word in links if passage.first <= unit < passage.last]
        times = _guess_times(units, inside, heard, passage)
        stretches += _cut_passage(passage, times, inside, num_tokens, cut, shortest, longest, most_tokens)
    return stretches


def _seconds_per_character(
    units: Sequence[Unit], links: list[tuple[int, int]], heard: Sequence[Heard]
) -> float:
    """How fast the text is spoken, short pauses included."""
    seconds = characters = 0.0
    for (unit, word), (next_unit, next_word) in itertools.pairwise(links):
        if next_unit == unit + 1 and next_word == word + 1:
            seconds += min(heard[next_word].start - heard[word].start, 1.5)
            characters += len(units[unit].key)
    return seconds / characters if characters else DEFAULT_PACE


def _find_passages(
    units: Sequence[Unit],
    links: list[tuple[int, int]],
    heard: Sequence[Heard],
    pace: float,
    duration: float,
    cut: Cut,
) -> Iterator[Stretch]:
    """Parts in which text and sound go together, however long; what is in one alone lies between them."""
    if not links:
        return
    spoken = [len(unit.key) * pace for unit in units]
    unit, word = links[0]
    first, start = _open_end(0, unit, heard[word].start, sum(spoken[:unit]))
    start = max(heard[word].start - start, 0.0)
    for (unit, word), (next_unit, next_word) in itertools.pairwise(links):
        end, next_start = heard[word].end, heard[next_word].start
        foreign = sum(other.end - other.start for other in heard[word + 1 : next_word])
        expected = sum(spoken[unit + 1 : next_unit])
        unsaid = is_unsaid(next_unit - unit - 1, expected, next_start - end)
        if unsaid or (foreign > SPARE and next_start - end > 3 * expected + SPARE):
            left, right = cut(end, next_start)
            yield Stretch(first, unit + 1, start, left)
            first, start = next_unit, right
    unit, word = links[-1]
    missing, after = _open_end(unit + 1, len(units), duration - heard[word].end, sum(spoken[unit + 1 :]))
    last = len(units) if missing == unit + 1 else unit + 1
    yield Stretch(first, last, start, min(heard[word].end + after, duration))


def is_unsaid(num_units: int, expected: float, there: float) -> bool:
    """Whether text that takes `expected` seconds to say cannot be in `there` seconds of sound."""
    return num_units >= 2 and expected > 2.5 * there + 0.6


def _open_end(first: int, last: int, there: float, expected: float) -> tuple[int, float]:
    """For text before the first anchor or after the last: its first unit that counts, and seconds of sound.

    All of it counts, with a little more sound than it should take, or none where there is not enough sound.
    """
    if is_unsaid(last - first, expected, there):
        return last, 0.5
    return first, 0.5 + 2 * expected


def _guess_times(
    units: Sequence[Unit], links: list[tuple[int, int]], heard: Sequence[Heard], passage: Stretch
) -> np.ndarray:
    """(units of the passage, 2) starts and ends: as heard, between anchors by the number of characters."""
    count = passage.last - passage.first
    times = np.full((count, 2), np.nan)
    for unit, word in links:
        times[unit - passage.first] = heard[word].start, heard[word].end
    known = [-1, *(unit - passage.first for unit, _ in links), count]
    for before, after in itertools.pairwise(known):
        if after - before > 1:
            start = times[before, 1] if before >= 0 else passage.start
            end = times[after, 0] if after < count else passage.end
            lengths = [len(units[passage.first + k].key) for k in range(before + 1, after)]
            edges = np.concatenate([[0], np.cumsum(lengths)]) / sum(lengths)
            edges = start + edges * max(end - start, 0.0)
            times[before + 1 : after] = np.stack([edges[:-1], edges[1:]], axis=1)
    return times


def _cut_passage(
    passage: Stretch,
    times: np.ndarray,
    links: list[tuple[int, int]],
    num_tokens: Sequence[int],
    cut: Cut,
    shortest: float,
    longest: float,
    most_tokens: int,
) -> Iterator[Stretch]:
    """Cut at the safest places: anchors on both sides, then a long pause, then a long stretch."""
    first, start = passage.first, passage.start
    steadiness = _steadiness(passage, links)
    tokens = np.concatenate([[0], np.cumsum(num_tokens[passage.first : passage.last])])
    while first < passage.last:
        begin = first - passage.first
        fits = tokens[begin + 1 :] - tokens[begin] <= most_tokens
        if passage.end - start <= longest and fits.all():
            yield Stretch(first, passage.last, start, passage.end)
            return
        ends, starts = times[begin:-1, 1], times[begin + 1 :, 0]  # of the words at each boundary
        allowed = fits[:-1] & (np.minimum(ends, starts) <= start + longest - 0.5)
        scores = (
            0.5 * steadiness[begin + 1 :]
            + np.clip(starts - ends, 0.0, 1.0)
            + 0.5 * (ends - start) / longest
            - 2.0 * (ends - start < shortest)
        )
        best = int(np.where(allowed, scores, -np.inf).argmax()) if allowed.any() else 0
        if begin + best + 1 >= len(times):
            yield Stretch(first, passage.last, start, min(passage.end, start + longest))
            return
        left, right = cut(float(ends[best]), float(max(starts[best], ends[best])))
        left = min(max(left, start), start + longest)
        yield Stretch(first, first + best + 1, start, left)
        first, start = first + best + 1, max(right, left)


def _steadiness(passage: Stretch, links: list[tuple[int, int]]) -> np.ndarray:
    """(units,) for the place before each unit: how many tied words are right before and after it, up to 3."""
    count = passage.last - passage.first
    word_of = np.full(count, -1)
    for unit, word in links:
        word_of[unit - passage.first] = word
    steadiness = np.zeros(count)
    for index in range(1, count):
        reach = 0
        while (
            reach < STEADY and _is_tied(word_of, index - reach - 1) and _is_tied(word_of, index + reach - 1)
        ):
            reach += 1
        steadiness[index] = reach
    return steadiness


def _is_tied(word_of: np.ndarray, index: int) -> bool:
    """Whether a unit and the one after it are tied to two words heard one after the other."""
    return 0 <= index < len(word_of) - 1 and word_of[index] >= 0 and word_of[index + 1] == word_of[index] + 1
