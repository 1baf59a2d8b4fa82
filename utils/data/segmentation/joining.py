"""Makes segments that fit Whisper from timed pieces.

Joins pieces over short pauses, and cuts at long pauses.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from utils.data.segmentation.overlaps import in_time_order, reject_overlaps, reject_repeats, settle_unnamed
from utils.data.segmentation.pieces import BadPiece, Piece, Segment, duration_of, join_texts
from utils.data.utterance import TimedText
from utils.runtime.problems import Problem
from utils.text.cleaning import clean_text

MOST_PIECES = 200  # in one segment; 30 s of single words are about 100


def join_pieces(
    pieces: Iterable[Piece | BadPiece],
    *,
    target_duration: float,
    max_duration: float,
    max_gap: float,
    min_duration: float = 0.0,
    padding: float = 0.0,
) -> Iterator[Segment | BadPiece]:
    """Make segments from the pieces of one recording, in the order of time.

    Rejects stay where they are in this order. Pieces of one speaker with short pauses between them are joined
    up to a target length. They are separated at the longest pauses. No segment goes across a reject, because
    the text of a reject is unknown. A piece that is too long is cut between its words, if it has times for
    them. Otherwise it stays whole, and later checks of its audio decide whether it is kept. If two speakers
    talk at once, both pieces are rejected. If pieces of one speaker overlap, their borders are only inexact,
    and they stay. Pieces without speakers may overlap by `LOOSE_SHARE`. If they overlap more, both are
    rejected. But if most pieces of the file overlap, each ends where the next one begins.

    Args:
        pieces: In any order.
        target_duration: Join pieces up to this length, in seconds. 0 joins none.
        max_duration: Longest segment, in seconds. A single piece without times of words may be longer.
        max_gap: Longest pause within a segment, in seconds.
        min_duration: Reject shorter segments, in seconds.
        padding: Seconds that are added on both sides if there is a pause, at most half of the pause. Nothing
            is added after the last segment, because the recording may end there.
    """
    target = min(target_duration, max_duration)
    items = settle_unnamed(list(reject_repeats(in_time_order(pieces))), max_duration)
    items = reject_overlaps(items)
    fitting = in_time_order(part for item in items for part in cut_long(item, max_duration))
    groups = [
        group for run in runs_between_gaps(fitting, max_gap) for group in part_run(run, target, min_duration)
    ]  # a reject is its own group
    previous_text = None
    for group, (earliest, latest) in zip(groups, _free_room(groups), strict=True):
        item = _build_segment(group, previous_text, min_duration)
        previous_text = None
        if isinstance(item, Segment):
            previous_text = item.text
            item = _pad(item, earliest, latest, padding, max_duration)
        yield item


def _build_segment(
    group: list[Piece] | BadPiece, previous_text: str | None, min_duration: float
) -> Segment | BadPiece:
    if isinstance(group, BadPiece):
        return group
    start, end = group[0].start, max(piece.end for piece in group)
    duration = round(end - start, 6)  # 1.1 to 1.6 must count as 0.5, not as 0.49999
    if duration < min_duration:
        problem = Problem("segment too short", f"{duration:g} s, expected at least {min_duration:g} s")
        return BadPiece(group[0].position, problem, start, end)
    segments = tuple(
        TimedText(round(piece.start - start, 6), round(piece.end - start, 6), piece.text) for piece in group
    )
    text = join_texts(piece.text for piece in group)
    return Segment(group[0].position, start, end, text, group[0].speaker, segments, previous_text)


def _free_room(groups: Sequence[list[Piece] | BadPiece]) -> Iterator[tuple[float, float | None]]:
    """Yield for each group the latest end before it, and the start of the next item.

    The start is None if there is no next item.
    """
    pieces = [[group] if isinstance(group, BadPiece) else group for group in groups]
    starts: list[float | None] = [None] * (len(groups) + 1)
    for index in range(len(groups) - 1, -1, -1):
        own = pieces[index][0].start
        starts[index] = starts[index + 1] if own is None else own
    reach = 0.0
    for index, group in enumerate(pieces):
        yield reach, starts[index + 1]
        reach = max(reach, *(piece.end or 0.0 for piece in group))


def _pad(
    segment: Segment, earliest: float, latest: float | None, padding: float, max_duration: float
) -> Segment:
    """Extend a segment into the pauses around it, at most to their middle."""
    spare = max(0.0, max_duration - duration_of(segment)) / 2
    # nothing comes before the first segment: it may use all of that pause
    pause_before = segment.start if earliest == 0.0 else (segment.start - earliest) / 2
    pause_after = 0.0 if latest is None else (latest - segment.end) / 2
    before = max(0.0, min(padding, spare, pause_before))
    after = max(0.0, min(padding, spare, pause_after))
    if not before and not after:
        return segment
    moved = tuple(
        TimedText(round(part.start + before, 6), round(part.end + before, 6), part.text)
        for part in segment.segments
    )
    return replace(segment, start=segment.start - before, end=segment.end + after, segments=moved)


def cut_long(item: Piece | BadPiece, max_duration: float) -> list[Piece | BadPiece]:
    """Return the item itself, the parts of a piece that is too long, or a reject."""
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
                f"{duration_of(item):g} s, expected at most {max_duration:g} s; there is no pause between "
                "its words; split this segment in the transcript",
            )
            return [BadPiece(item.position, problem, item.start, item.end)]
        waiting += [(first + cut, end), (first, first + cut)]
    return parts


def _words_as_piece(piece: Piece, first: int, end: int) -> Piece:
    """Return some words of a piece as a piece.

    Its first and last word keep the time up to the borders of the old piece.
    """
    words = piece.words[first:end]
    return replace(
        piece,
        start=piece.start if first == 0 else words[0].start,
        end=piece.end if end == len(piece.words) else words[-1].end,
        text=clean_text("".join(word.text for word in words)),
        words=words,
    )


def _best_cut(piece: Piece) -> int | None:
    """Choose the word before which to cut.

    It comes after the longest pause in the middle half, or is nearest to the middle.
    """
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
    """Yield runs of neighbours that may be joined.

    They have the same speaker, and no long pause or reject between them.
    """
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
    """Divide a run into segments so that their lengths are near the target and the pauses between them are
    long.

    Dynamic programming finds the division with the lowest cost. The cost of a segment is the square of the
    share by which it is shorter than the target. It is much higher if the segment is too short to keep. The
    cost of a cut is 1, and lower at a pause (half at 0.25 s).
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
    """Compute the cost of cutting a run before each of its pieces."""
    costs, reach = [0.0], run[0].end
    for piece in run[1:]:
        pause = max(0.0, piece.start - reach)
        costs.append(1 / (1 + 4 * pause))
        reach = max(reach, piece.end)
    return costs
