"""Joins words with times to segments that end at pauses and ends of sentences."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.audio.levels import LEVEL_SECONDS, Levels
from utils.data.forced_alignment.anchors import Unit
from utils.data.forced_alignment.word_timing import UnitTimes

MARGIN = 0.5  # most seconds of silence that a segment keeps before and after its words

LONG_PAUSE = 2.0  # seconds without a word; no segment contains such a pause

USUAL_FOCUS = 0.6  # share of attention at the place of the word itself

LEAST_CONFIDENCE = 0.01  # of a word that was found at all

DOUBTFUL, HALF_DOUBTFUL = 0.25, 0.4  # confidence of a word that may not be spoken, and of its neighbours

SHORT_WORD = 4  # characters: a single shorter word is not doubted, because it is often hard to hear

SHORT_SEGMENT = 1.0  # seconds; shorter segments are joined to a neighbour if that costs little

SENTENCE_END = re.compile(r"[.!?…。！？؟।॥][\"'”’»)\]」』]*$")

CLAUSE_END = re.compile(r"[,;:،、，；：–—-][\"'”’»)\]」』]*$")


@dataclass(frozen=True)
class AlignedSegment:
    """A part of the transcript, unchanged, with its start and end in the recording in seconds.

    `confidence` is between 0 and 1. It is 0 if the text was not found in the audio. Then `start` and `end`
    are those of the gap in which it should be.
    """

    start: float
    end: float
    text: str
    confidence: float


@dataclass(frozen=True)
class PlacedUnit:
    """A unit of the transcript, its times in seconds and their confidence.

    The confidence is 0 if the unit was not found.
    """

    unit: Unit
    start: float
    end: float
    confidence: float


def confidence_of(times: UnitTimes) -> np.ndarray:
    """Compute the confidence (units,), from 0 to 1.

    It depends on the model's focus on the time of a unit and on the unit's probability. Focus counts more,
    because rare words and names have low probabilities although they are spoken. Text that nobody says gets
    less than half the usual focus.
    """
    firm = np.clip(times.focus / USUAL_FOCUS, 0.0, 1.0)
    return np.maximum(firm * (0.4 + 0.6 * times.probabilities), LEAST_CONFIDENCE)


def join_units(
    text: str, placed: Sequence[PlacedUnit], levels: Levels, max_duration: float
) -> list[AlignedSegment]:
    """Join units to segments of at most `max_duration` seconds that end at sentences and pauses.

    No segment contains a long pause. No segment contains both words that are spoken and words that may not be
    spoken.
    """
    segments = []
    edged = _with_edges(placed, levels)
    doubted = find_doubtful(placed)
    for is_doubted, group in itertools.groupby(range(len(placed)), key=doubted.__getitem__):
        units = [edged[index] for index in group]
        if is_doubted:
            segments.append(_segment(text, units, max_duration))
            continue
        for part in _split_at_pauses(units):
            for first, last in _cheapest_cuts(text, part, max_duration):
                segments.append(_segment(text, part[first:last], max_duration))
    return segments


def find_doubtful(placed: Sequence[PlacedUnit]) -> list[bool]:
    """Find words that may not be spoken.

    They have a low confidence, or are beside such a word and do not have a high one.
    """
    doubted = [
        unit.confidence == 0 or (unit.confidence < DOUBTFUL and len(unit.unit.key) >= SHORT_WORD)
        for unit in placed
    ]
    for order in (range(1, len(placed)), range(len(placed) - 2, -1, -1)):
        step = -order.step
        for index in order:
            if doubted[index + step] and placed[index].confidence < HALF_DOUBTFUL:
                doubted[index] = True
    return doubted


@dataclass(frozen=True)
class _Edged:
    """A unit with times, the start of a segment that would begin with it, and the end of a segment that would
    end with it.
    """

    placed: PlacedUnit
    start: float
    end: float


def _with_edges(placed: Sequence[PlacedUnit], levels: Levels) -> list[_Edged]:
    duration = len(levels.silent) * LEVEL_SECONDS
    found = [unit for unit in placed if unit.confidence > 0]
    if not found:
        return [_Edged(unit, unit.start, unit.end) for unit in placed]
    cuts = [cut_between(levels, a.end, b.start) for a, b in itertools.pairwise(found)]
    starts = [max(found[0].start - MARGIN, 0.0), *(right for _, right in cuts)]
    ends = [*(left for left, _ in cuts), min(found[-1].end + MARGIN, duration)]
    edges = iter(zip(starts, ends, strict=True))
    return [
        _Edged(unit, *(next(edges) if unit.confidence > 0 else (unit.start, unit.end))) for unit in placed
    ]


def cut_between(levels: Levels, end: float, start: float) -> tuple[float, float]:
    """Choose the end of the segment before a gap between two words, and the start of the next, in seconds.

    Both are in the middle of the silence. If the silence is long, each segment keeps half a second of it.
    """
    if start - end > 2 * MARGIN:
        return end + MARGIN, start - MARGIN
    point = levels.cut_point(end, start)
    return point, point


def _split_at_pauses(units: list[_Edged]) -> list[list[_Edged]]:
    parts = [[units[0]]]
    for before, unit in itertools.pairwise(units):
        if unit.placed.start - before.placed.end > LONG_PAUSE:
            parts.append([])
        parts[-1].append(unit)
    return parts


def _cheapest_cuts(text: str, units: list[_Edged], max_duration: float) -> list[tuple[int, int]]:
    """Choose the segments with the lowest total cost, as pairs (first, last + 1)."""
    costs = [0.0] + [np.inf] * len(units)
    begins = [0] * (len(units) + 1)
    for last in range(1, len(units) + 1):
        at_end = 0.0 if last == len(units) else _cost_of_cut(text, units[last - 1], units[last])
        for first in range(last - 1, -1, -1):
            duration = units[last - 1].end - units[first].start
            if duration > max_duration and first < last - 1:
                break
            cost = costs[first] + at_end + _cost_of_length(duration, max_duration)
            if cost < costs[last]:
                costs[last], begins[last] = cost, first
    cuts = []
    last = len(units)
    while last:
        cuts.append((begins[last], last))
        last = begins[last]
    return cuts[::-1]


def _cost_of_cut(text: str, before: _Edged, after: _Edged) -> float:
    """Compute the cost of a cut: low at a sentence end, in a pause and between words of high confidence."""
    word = text[before.placed.unit.start : before.placed.unit.end]
    cost = 0.3 if SENTENCE_END.search(word) else 0.8 if CLAUSE_END.search(word) else 1.2
    doubt = 1.0 - min(before.placed.confidence, after.placed.confidence)
    return max(cost - min(after.placed.start - before.placed.end, 0.5), 0.0) + doubt


def _cost_of_length(duration: float, max_duration: float) -> float:
    """Compute the cost of a length: lowest for about half to two thirds of the longest segment."""
    too_short = 0.5 if duration < SHORT_SEGMENT else 0.0
    return 0.3 + 0.6 * (duration / max_duration) ** 2 + too_short


def _segment(text: str, units: list[_Edged], max_duration: float) -> AlignedSegment:
    start, end = units[0].start, units[-1].end
    confidence = _segment_confidence([unit.placed for unit in units])
    if end - start > max_duration and confidence > 0:  # a single word: its times are wrong
        end, confidence = start + max_duration, 0.0
    verbatim = text[units[0].placed.unit.start : units[-1].placed.unit.end]
    return AlignedSegment(start, end, verbatim, confidence)


def _segment_confidence(units: list[PlacedUnit]) -> float:
    """Compute the confidence of a segment as the mean over its characters."""
    lengths = [len(unit.unit.key) for unit in units]
    return float(np.average([unit.confidence for unit in units], weights=lengths))
