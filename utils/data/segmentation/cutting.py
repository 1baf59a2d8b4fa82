"""Where pieces are cut into segments: at the longest pauses, for the fewest segments."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from utils.data.segmentation.pieces import BadPiece, Piece, duration_of
from utils.runtime.problems import Problem
from utils.text.cleaning import clean_text

MOST_PIECES = 200  # joined into one segment; 30 s of single words are about 100


def cut_long(item: Piece | BadPiece, max_duration: float) -> list[Piece | BadPiece]:
    """The item itself, or the parts of a piece that is too long, or the reject it becomes."""
    if isinstance(item, BadPiece) or duration_of(item) <= max_duration or not item.words:
        return [item]
    parts: list[Piece | BadPiece] = []
    waiting = [(0, len(item.words))]
    while waiting:
        first, end = waiting.pop()
        part = _words_as_piece(item, first, end)
        if duration_of(part) <= max_duration:
            parts.append(part)
            continue
        cut = _best_cut(part)
        if cut is None:
            problem = Problem(
                "segment too long",
                f"{duration_of(item):g} s, expected at most {max_duration:g} s; its words leave no place "
                "to cut it, so cut it in the transcript",
            )
            return [BadPiece(item.position, problem, item.start, item.end)]
        waiting += [(first + cut, end), (first, first + cut)]
    return parts


def _words_as_piece(piece: Piece, first: int, end: int) -> Piece:
    """Some words of a piece; what lies between the words and its own borders stays with the outer ones."""
    words = piece.words[first:end]
    return replace(
        piece,
        start=piece.start if first == 0 else words[0].start,
        end=piece.end if end == len(piece.words) else words[-1].end,
        text=clean_text("".join(word.text for word in words)),
        words=words,
    )


def _best_cut(piece: Piece) -> int | None:
    """The word to cut before: after the widest pause in the middle half, or else nearest to the middle."""
    middle, reach = (piece.start + piece.end) / 2, (piece.end - piece.start) / 4
    best: tuple[bool, float, float] | None = None
    cut = None
    for index in range(1, len(piece.words)):
        before, after = piece.words[index - 1].end, piece.words[index].start
        if before <= piece.start or after >= piece.end:
            continue
        distance = abs((before + after) / 2 - middle)
        central = distance <= reach
        worth = (central, after - before if central else 0.0, -distance)
        if best is None or worth > best:
            best, cut = worth, index
    return cut


def runs_between_gaps(items: Sequence[Piece | BadPiece], max_gap: float) -> Iterator[list[Piece] | BadPiece]:
    """Neighbours that may be joined: one speaker, no long pause, no reject between them."""
    run: list[Piece] = []
    reach = 0.0
    for item in items:
        joins = (
            isinstance(item, Piece)
            and run
            and item.speaker == run[-1].speaker
            and item.start - reach <= max_gap
        )
        if run and not joins:
            yield run
            run = []
        if isinstance(item, BadPiece):
            yield item
            continue
        reach = max(reach, item.end) if run else item.end
        run.append(item)
    if run:
        yield run


def part_run(
    run: list[Piece] | BadPiece, target: float, min_duration: float
) -> Iterator[list[Piece] | BadPiece]:
    """Part a run so that segments are near the target and the pauses between them are long.

    Of all ways to part it, the cheapest by dynamic programming: a segment costs the square of the share by
    which it falls short of the target, and much if it is too short to be kept; a cut costs 1, less over a
    pause (half at 0.25 s).
    """
    if isinstance(run, BadPiece):
        yield run
        return
    if target <= 0:
        yield from ([piece] for piece in run)
        return
    cut_costs = _cut_costs(run)
    costs, begins = [0.0], [0]
    for end in range(1, len(run) + 1):
        cheapest, begin, reach = math.inf, end - 1, 0.0
        for first in range(end - 1, max(end - 1 - MOST_PIECES, -1), -1):
            reach = max(reach, run[first].end)
            duration = round(reach - run[first].start, 6)
            if duration > target and first < end - 1:
                break
            cost = costs[first] + cut_costs[first] + max(0.0, 1 - duration / target) ** 2
            cost += 10.0 if duration < min_duration else 0.0
            if cost < cheapest:
                cheapest, begin = cost, first
        costs.append(cheapest)
        begins.append(begin)
    borders = [len(run)]
    while borders[-1] > 0:
        borders.append(begins[borders[-1]])
    borders.reverse()
    for first, end in itertools.pairwise(borders):
        yield run[first:end]


def _cut_costs(run: Sequence[Piece]) -> list[float]:
    """What it costs to cut before each piece of a run."""
    costs, reach = [0.0], run[0].end
    for piece in run[1:]:
        pause = max(0.0, piece.start - reach)
        costs.append(1 / (1 + 4 * pause))
        reach = max(reach, piece.end)
    return costs
