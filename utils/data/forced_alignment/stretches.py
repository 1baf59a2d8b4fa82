"""Cuts a transcript into stretches between anchors, each short enough for the model."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from utils.data.forced_alignment.anchors import Heard, MatchedRun, Unit

SPARE = 5.0  # seconds of heard words without text that count as foreign sound

STEADY = 3  # with this number of tied words on both sides, a place is as safe to cut as possible

SHORTEST = 8.0  # seconds; a shorter stretch is only made if there is no other way

LONGEST = 28.0  # seconds of a stretch; a little under Whisper's 30, so that an edge can move into a pause

MOST_TOKENS = 400  # in a stretch; the decoder has 448 positions, some of them for the prompt

DEFAULT_PACE = 0.07  # seconds a character


@dataclass(frozen=True)
class Stretch:
    """Units `first` to `last` - 1, spoken between `start` and `end` seconds."""

    first: int
    last: int
    start: float
    end: float


Cut = Callable[[float, float], tuple[float, float]]
"""Function that gets the end of a word and the start of the next word.

It returns the end of the stretch before and the start of the next stretch.
"""


def plan_stretches(
    units: Sequence[Unit],
    num_tokens: Sequence[int],
    runs: Sequence[MatchedRun],
    heard: Sequence[Heard],
    duration: float,
    cut: Cut,
) -> list[Stretch]:
    """Cut transcript and recording together into stretches that are short enough for the model.

    Args:
        units: Units of the whole transcript.
        num_tokens: Label tokens of each unit.
        runs: From `match_units`, in order.
        heard: The recognised words to which the runs refer.
        duration: Seconds of the recording.
        cut: Finds the silence between two words.

    Returns:
        Stretches in order. Units that are in no stretch are not spoken at their place in the text.
    """
    links = [(run.unit + k, run.heard + k) for run in runs for k in range(run.length)]
    pace = _seconds_per_character(units, links, heard)
    stretches: list[Stretch] = []
    for passage in _find_passages(units, links, heard, pace, duration, cut):
        inside = [(unit, word) for unit, word in links if passage.first <= unit < passage.last]
        times = _guess_times(units, inside, heard, passage)
        stretches += _cut_passage(passage, times, inside, num_tokens, cut)
    return stretches


def _seconds_per_character(
    units: Sequence[Unit], links: list[tuple[int, int]], heard: Sequence[Heard]
) -> float:
    """Measure the speed of speech, including short pauses."""
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
    """Yield passages of any length in which text and speech agree.

    Between them is text that nobody says, or speech that is not in the text.
    """
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
    """Check whether a text that should take `expected` seconds is too long for `there` seconds of sound."""
    return num_units >= 2 and expected > 2.5 * there + 0.6


def _open_end(first: int, last: int, there: float, expected: float) -> tuple[int, float]:
    """Return the first unit to use and the seconds of sound, for text before the first or after the last
    anchor.

    If there is enough sound, all of this text is used, with a little more sound than it should need.
    Otherwise none of it is used.
    """
    if is_unsaid(last - first, expected, there):
        return last, 0.5
    return first, 0.5 + 2 * expected


def _guess_times(
    units: Sequence[Unit], links: list[tuple[int, int]], heard: Sequence[Heard], passage: Stretch
) -> np.ndarray:
    """Guess the starts and ends of the units, (units, 2).

    They are those of the recognised words. Between anchors, they are spread by the number of characters.
    """
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
    passage: Stretch, times: np.ndarray, links: list[tuple[int, int]], num_tokens: Sequence[int], cut: Cut
) -> Iterator[Stretch]:
    """Cut where it is safest.

    Prefer places with anchors on both sides, then long pauses, then long stretches.
    """
    first, start = passage.first, passage.start
    steadiness = _steadiness(passage, links)
    tokens = np.concatenate([[0], np.cumsum(num_tokens[passage.first : passage.last])])
    while first < passage.last:
        begin = first - passage.first
        fits = tokens[begin + 1 :] - tokens[begin] <= MOST_TOKENS
        if passage.end - start <= LONGEST and fits.all():
            yield Stretch(first, passage.last, start, passage.end)
            return
        ends, starts = times[begin:-1, 1], times[begin + 1 :, 0]  # of the words at each border
        allowed = fits[:-1] & (np.minimum(ends, starts) <= start + LONGEST - 0.5)
        scores = (
            0.5 * steadiness[begin + 1 :]
            + np.clip(starts - ends, 0.0, 1.0)
            + 0.5 * (ends - start) / LONGEST
            - 2.0 * (ends - start < SHORTEST)
        )
        best = int(np.where(allowed, scores, -np.inf).argmax()) if allowed.any() else 0
        if begin + best + 1 >= len(times):
            yield Stretch(first, passage.last, start, min(passage.end, start + LONGEST))
            return
        left, right = cut(float(ends[best]), float(max(starts[best], ends[best])))
        left = min(max(left, start), start + LONGEST)
        yield Stretch(first, first + best + 1, start, left)
        first, start = first + best + 1, max(right, left)


def _steadiness(passage: Stretch, links: list[tuple[int, int]]) -> np.ndarray:
    """Count the anchors directly before and after the place in front of each unit, at most 3.

    The result is (units,).
    """
    count = passage.last - passage.first
    word_of = np.full(count, -1)
    for unit, word in links:
        word_of[unit - passage.first] = word
    # whether a unit and the next one are tied to two heard words that follow each other
    tied = np.pad((word_of[:-1] >= 0) & (word_of[1:] == word_of[:-1] + 1), STEADY)
    before = np.arange(count) + STEADY - 1
    steps = [tied[before - reach] & tied[before + reach] for reach in range(STEADY)]
    return np.cumprod(steps, axis=0).sum(axis=0)
