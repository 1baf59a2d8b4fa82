"""Cut the words of a recording into cues that people can read as subtitles."""

import itertools
import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from utils.audio.voice_activity import SpeechSpan
from utils.data.forced_alignment.segments import CLAUSE_END, SENTENCE_END
from utils.delivery.transcript import Cue, Word, join_words

LONGEST_CUE = 7.0  # seconds, as in the guidelines of broadcasters

SHORTEST_CUE = 1.0  # seconds; shorter ones stay on the screen so long if there is room

PAUSE_BETWEEN_CUES = 1.0  # seconds without a word; no cue contains such a pause

DOUBTFUL = "[?] "  # before a text that may be wrong

GAP = 0.08  # seconds between two cues, so that the eye sees the change

MARGIN, SHORTEST_HOLE = 0.5, 1.0  # seconds beside a word that count as covered, and of speech that is told

# the cost of a cue's end, by what is there; a cue itself costs 1
AFTER_SENTENCE, AFTER_CLAUSE, AT_PAUSE, AMID_WORDS = 0.0, 0.8, 0.8, 2.0

SEEN_PAUSE = 0.3  # seconds

SENTENCE_WITHIN = 1.1  # the cost of a sentence's end within a cue: more than that of another cue

TOO_SHORT = 1.0  # the cost of a cue that is too short to be noticed

TOO_FAST = 1.0  # the cost of each share by which a cue is too fast to read


@dataclass(frozen=True)
class Layout:
    """The limits within which a subtitle can be read. Wide characters, such as Chinese ones, count twice."""

    line_width: int = 42  # characters
    lines: int = 2  # of a cue
    reading_speed: float = 20.0  # characters a second

    def beside_mark(self, doubt: str | None) -> "Layout":
        """Return the layout of a text with this doubt: narrower lines, so that its mark fits."""
        return self if doubt is None else replace(self, line_width=self.line_width - len(DOUBTFUL))


def cut_cues(words: Sequence[Word], layout: Layout, doubt: str | None = None) -> list[Cue]:
    """Cut words at the ends of sentences, clauses and at pauses into cues that fit the layout.

    Args:
        words: Words in order of time.
        layout: The limits of a cue.
        doubt: Reason why the words may be wrong. It applies to all of them.
    """
    layout = layout.beside_mark(doubt)
    pauses = [i for i in range(1, len(words)) if words[i].start - words[i - 1].end > PAUSE_BETWEEN_CUES]
    edges = [0, *pauses, len(words)] if words else []
    runs = [words[first:last] for first, last in itertools.pairwise(edges)]
    groups = [group for run in runs for group in _cut_run(run, layout)]
    return [Cue(group[0].start, group[-1].end, group, doubt) for group in groups]


def _cut_run(words: Sequence[Word], layout: Layout) -> Iterator[Sequence[Word]]:
    """Find the cuts with the lowest cost, by dynamic programming over the first word of the last cue."""
    end_costs = [_end_cost(words, number) for number in range(len(words))]
    costs, firsts = [0.0], [0]
    for last in range(len(words)):
        best = (math.inf, last)
        for first in _possible_firsts(words, last, layout):
            inner = sum(cost == AFTER_SENTENCE for cost in end_costs[first:last])
            cost = costs[first] + 1.0 + SENTENCE_WITHIN * inner + _haste(words, first, last, layout)
            best = min(best, (cost, first))
        costs.append(best[0] + end_costs[last])
        firsts.append(best[1])
    edges = [len(words)]
    while edges[-1]:
        edges.append(firsts[edges[-1]])
    yield from (words[first:last] for first, last in itertools.pairwise(reversed(edges)))


def _possible_firsts(words: Sequence[Word], last: int, layout: Layout) -> Iterator[int]:
    """Yield the numbers of the words with which a cue may begin, if it ends with word `last` and fits the
    layout.

    One of them is always `last`.
    """
    lines, width = 1, 0
    for first in range(last, -1, -1):
        if width and width + _width_at_begin(words[first]) > layout.line_width:
            lines, width = lines + 1, 0
        width += width_of(words[first].text)
        too_long = words[last].end - words[first].start > LONGEST_CUE
        if first < last and (lines > layout.lines or too_long):
            return
        yield first


def _end_cost(words: Sequence[Word], last: int) -> float:
    if last == len(words) - 1 or SENTENCE_END.search(words[last].text):
        return AFTER_SENTENCE
    if CLAUSE_END.search(words[last].text):
        return AFTER_CLAUSE
    return AT_PAUSE if words[last + 1].start - words[last].end >= SEEN_PAUSE else AMID_WORDS


def _haste(words: Sequence[Word], first: int, last: int, layout: Layout) -> float:
    """Return the cost of a cue that is too short to be read before the next one begins."""
    until = words[last + 1].start if last + 1 < len(words) else words[last].end + PAUSE_BETWEEN_CUES
    seconds = max(until - words[first].start, 0.1)
    excess = (
        sum(width_of(word.text) for word in words[first : last + 1]) / (layout.reading_speed * seconds) - 1
    )
    return TOO_FAST * max(excess, 0.0) + TOO_SHORT * (seconds < SHORTEST_CUE)


def stay_readable(cues: Sequence[Cue], layout: Layout, duration: float) -> list[Cue]:
    """Return the cues with later ends, so that each can be read. A cue still ends before the next one begins.

    Args:
        cues: Cues in order of time.
        layout: Its reading speed is used.
        duration: Seconds of the recording.
    """
    latest = [*(cue.start - GAP for cue in cues[1:]), duration]
    wanted = [max(SHORTEST_CUE, width_of(cue.text) / layout.reading_speed) for cue in cues]
    return [
        replace(cue, end=max(cue.end, min(cue.start + wanted[number], latest[number])))
        for number, cue in enumerate(cues)
    ]


def break_lines(words: Sequence[Word], layout: Layout) -> list[str]:
    """Break the text of a cue into as few lines as possible.

    They have similar lengths, and end after a clause if possible. A word that is wider than a line has a line
    of its own.
    """
    widths = [width_of(word.text) for word in words]
    costs: list[tuple[float, float, int]] = [(0, 0.0, 0)]  # lines, unevenness, first word of the last line
    for last in range(len(words)):
        best: tuple[float, float, int] = (math.inf, 0.0, last)
        for first in range(last, -1, -1):
            width = _width_at_begin(words[first]) + sum(widths[first + 1 : last + 1])
            if width > layout.line_width and first < last:
                break
            lines, unevenness, _ = costs[first]
            clause = last + 1 < len(words) and not CLAUSE_END.search(words[last].text)
            best = min(best, (lines + 1, unevenness + width**2 + clause * layout.line_width, first))
        costs.append(best)
    edges = [len(words)]
    while edges[-1]:
        edges.append(costs[edges[-1]][2])
    return [join_words(words[first:last]) for first, last in itertools.pairwise(reversed(edges))]


def _width_at_begin(word: Word) -> int:
    """Return the width in columns of a word at the start of a line, without the space before it."""
    return width_of(word.text.lstrip())


def width_of(text: str) -> int:
    """Return the width of a text in columns.

    A wide character has two, a mark on another character has none.
    """
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return wide + sum(unicodedata.category(character)[0] != "M" for character in text)


def uncovered_speech(speech: Sequence[SpeechSpan], words: Sequence[Word]) -> float:
    """Return how many seconds of speech have no word.

    Only gaps of over 1 s count, at least 0.5 s away from any word.

    Args:
        speech: Spans of speech in order, in seconds.
        words: Words in order of time, in seconds.
    """
    total, place = 0.0, 0
    for span in speech:
        while place < len(words) and words[place].end + MARGIN < span.start:
            place += 1
        reached, number = span.start, place
        while number < len(words) and words[number].start - MARGIN < span.end:
            total += _hole(reached, words[number].start - MARGIN)
            reached = max(reached, words[number].end + MARGIN)
            number += 1
        total += _hole(reached, span.end)
    return total


def _hole(start: float, end: float) -> float:
    return end - start if end - start >= SHORTEST_HOLE else 0.0
