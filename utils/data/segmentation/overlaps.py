"""Finds pieces that overlap or repeat each other, and adjusts or rejects them."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from utils.data.segmentation.pieces import BadPiece, Piece, duration_of
from utils.runtime.problems import Problem

OVERLAP_TOLERANCE = 0.2
"""Seconds by which pieces of two speakers may overlap, because borders set by hand are not more exact."""

LOOSE_SHARE = 0.25
"""Two pieces without speakers may also overlap by this share of the shorter one."""

FEWEST_ON_SCREEN = 3
"""If a file has at least this number of overlaps, its lines may stay on the screen while the next one is
spoken.
"""


def in_time_order(items: Iterable[Piece | BadPiece]) -> list[Piece | BadPiece]:
    """Sort by start. A reject without times stays after the item that was before it."""
    keyed: list[tuple[float, Piece | BadPiece]] = []
    start = 0.0
    for item in items:
        start = start if item.start is None else item.start
        keyed.append((start, item))
    return [item for _, item in sorted(keyed, key=lambda pair: pair[0])]


def reject_repeats(items: Sequence[Piece | BadPiece]) -> Iterator[Piece | BadPiece]:
    """Reject a piece that is in the file twice.

    Programs that merge or convert subtitles may repeat pieces.
    """
    seen: dict[tuple[float, float, str, str | None], int | str] = {}
    for item in items:
        if isinstance(item, Piece):
            first = seen.setdefault((item.start, item.end, item.text, item.speaker), item.position)
            if first != item.position:
                problem = Problem("repeated piece", f"the same times and text as {first}")
                item = BadPiece(item.position, problem, item.start, item.end)
        yield item


def settle_unnamed(items: Sequence[Piece | BadPiece], max_duration: float) -> list[Piece | BadPiece]:
    """Correct overlaps of pieces without speakers.

    Cut captions that stay on the screen too long, and reject other pieces. Pieces that are too long are
    ignored, because a credit may last for a whole film.
    """
    pieces = {
        index: item
        for index, item in enumerate(items)
        if isinstance(item, Piece) and item.speaker is None and duration_of(item) <= max_duration
    }
    pairs = [pair for pair in itertools.pairwise(pieces) if _overlap(pieces[pair[0]], pieces[pair[1]])]
    if len(pairs) >= FEWEST_ON_SCREEN and 2 * len(pairs) > len(pieces) - 1:
        for index, following in pairs:
            pieces[index] = _cut_at_next(pieces[index], pieces[following])
    settled: dict[int, Piece | BadPiece] = {**pieces}
    for index, rival in _unnamed_rivals(pieces).items():
        piece = pieces[index]
        problem = Problem(
            "overlapping speech",
            f"{piece.start:g} to {piece.end:g} s overlaps another text "
            f"({rival.start:g} to {rival.end:g} s); correct the times",
        )
        settled[index] = BadPiece(piece.position, problem, piece.start, piece.end)
    return [settled.get(index, item) for index, item in enumerate(items)]


def _overlap(earlier: Piece, later: Piece) -> bool:
    """Check whether two pieces overlap by more than inexact borders."""
    shared = round(min(earlier.end, later.end) - later.start, 6)
    shorter = min(duration_of(earlier), duration_of(later))
    return shared > OVERLAP_TOLERANCE and shared > LOOSE_SHARE * shorter


def _cut_at_next(piece: Piece, following: Piece) -> Piece:
    """End a piece at the start of the next. Keep it if it would lose words or become empty."""
    outlasts = piece.end >= following.end or (piece.words and piece.words[-1].end > following.start)
    return piece if outlasts or piece.start == following.start else replace(piece, end=following.start)


def _unnamed_rivals(pieces: Mapping[int, Piece]) -> dict[int, Piece]:
    """Find pieces that overlap another one by more than inexact borders.

    Return the other piece for each of them.
    """
    rivals: dict[int, Piece] = {}
    longest: int | None = None  # the piece that ends last so far
    for index, piece in pieces.items():
        if longest is not None and _overlap(pieces[longest], piece):
            rivals.setdefault(longest, piece)
            rivals[index] = pieces[longest]
        if longest is None or piece.end > pieces[longest].end:
            longest = index
    return rivals


def reject_overlaps(items: Iterable[Piece | BadPiece]) -> list[Piece | BadPiece]:
    """Reject both pieces if two known speakers talk at once. Items must be sorted by start."""
    found = list(items)
    spoken = [
        (item.start, item.end, index, item)
        for index, item in enumerate(found)
        if isinstance(item, Piece) and item.speaker is not None
    ]
    before = _rivals(spoken)
    after = _rivals((-end, -start, index, item) for start, end, index, item in reversed(spoken))
    for index, rival in (after | before).items():
        item = found[index]
        problem = Problem(
            "overlapping speech",
            f"{item.start:g} to {item.end:g} s while {rival.speaker!r} speaks "
            f"({rival.start:g} to {rival.end:g} s); if these are tiers of the same speech, read only one",
        )
        found[index] = BadPiece(item.position, problem, item.start, item.end)
    return found


def _rivals(spoken: Iterable[tuple[float, float, int, Piece]]) -> dict[int, Piece]:
    """Find pieces that begin before an earlier piece of another speaker ends.

    Return this other piece for each of them, the latest if there are several.

    Args:
        spoken: Start, end, index and piece, sorted by start. The caller may also reverse the direction of
            time.
    """
    rivals: dict[int, Piece] = {}
    farthest: tuple[float, int, Piece] | None = None  # end, -index and piece with the latest end so far
    other: tuple[float, int, Piece] | None = None  # the same among all other speakers
    for start, end, index, piece in spoken:
        rival = other if farthest and farthest[2].speaker == piece.speaker else farthest
        if rival and round(rival[0] - start, 6) > OVERLAP_TOLERANCE:
            rivals[index] = rival[2]
        if farthest is None or (end, -index) > farthest[:2]:
            if farthest and farthest[2].speaker != piece.speaker:
                other = farthest
            farthest = (end, -index, piece)
        elif piece.speaker != farthest[2].speaker and (other is None or (end, -index) > other[:2]):
            other = (end, -index, piece)
    return rivals
