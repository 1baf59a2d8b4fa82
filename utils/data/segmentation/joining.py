"""Timed pieces of a transcript to segments that fit Whisper: joined over short pauses."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from utils.data.segmentation.cutting import cut_long, part_run, runs_between_gaps
from utils.data.segmentation.overlaps import (
    in_time_order,
    reject_overlaps,
    reject_repeats,
    settle_unnamed,
)
from utils.data.segmentation.pieces import BadPiece, Piece, Segment, duration_of, join_texts
from utils.data.utterance import TimedText
from utils.runtime.problems import Problem


def join_pieces(
    pieces: Iterable[Piece | BadPiece],
    *,
    target_duration: float,
    max_duration: float,
    max_gap: float,
    min_duration: float = 0.0,
    padding: float = 0.0,
) -> Iterator[Segment | BadPiece]:
    """Make segments of the pieces of one recording, in the order of time; rejects come at their place.

    Pieces of one speaker with short pauses between them are joined up to a target length, and parted at the
    longest pauses. Nothing is joined across a reject: what is said there is not known. A piece that is too
    long is cut between its words, where it has times for them; else it stays whole, and what becomes of it
    shows in its sound. Where two speakers talk at once, both pieces
    are rejected; pieces of one speaker that overlap only have loose borders and stay. Pieces without speakers
    may overlap by `LOOSE_SHARE`; beyond that both are rejected, unless most of them overlap: then each ends
    where the next one begins.

    Args:
        pieces: In any order.
        target_duration: Seconds up to which pieces are joined; 0 leaves each on its own.
        max_duration: Seconds no segment exceeds but a single piece without words.
        max_gap: Longest pause, in seconds, within a segment.
        min_duration: Shorter segments are rejected, in seconds.
        padding: Seconds added on both sides where there is a pause, at most half of it. Nothing is added at
            the end of the last one: the recording may end there.
    """
    target = min(target_duration, max_duration)
    items = settle_unnamed(list(reject_repeats(in_time_order(pieces))), max_duration)
    items = reject_overlaps(items)
    fitting = in_time_order(part for item in items for part in cut_long(item, max_duration))
    groups = [
        group for run in runs_between_gaps(fitting, max_gap) for group in part_run(run, target, min_duration)
    ]  # a reject is a group of its own
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
    duration = round(end - start, 6)  # 0.5 written as 1.1 to 1.6 must not count as 0.49999
    if duration < min_duration:
        problem = Problem("segment too short", f"{duration:g} s, expected at least {min_duration:g} s")
        return BadPiece(group[0].position, problem, start, end)
    segments = tuple(
        TimedText(round(piece.start - start, 6), round(piece.end - start, 6), piece.text) for piece in group
    )
    text = join_texts(piece.text for piece in group)
    return Segment(group[0].position, start, end, text, group[0].speaker, segments, previous_text)


def _free_room(groups: Sequence[list[Piece] | BadPiece]) -> Iterator[tuple[float, float | None]]:
    """For each group the end of all before it, and the start of what comes after it, if anything does."""
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
    """Reach into the pauses around a segment, at most to their middle."""
    spare = max(0.0, max_duration - duration_of(segment)) / 2
    # nothing is before the first segment: all of that pause is free
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
