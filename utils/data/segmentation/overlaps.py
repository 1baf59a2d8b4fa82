"""Pieces that overlap or repeat each other: settled or rejected."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from utils.data.segmentation.pieces import BadPiece, Piece, duration_of
from utils.runtime.problems import Problem

OVERLAP_TOLERANCE = 0.2
"""Seconds by which pieces of two speakers may overlap: borders set by hand are hardly finer."""

LOOSE_SHARE = 0.25
"""Share of the shorter of two pieces without speakers by which they may overlap too."""

FEWEST_ON_SCREEN = 3
"""Overlaps from which a file may be one whose lines stay on the screen while the next one is spoken."""


def in_time_order(items: Iterable[Piece | BadPiece]) -> list[Piece | BadPiece]:
    """Sorted by start; a reject without times stays behind the item that came before it."""
    keyed: list[tuple[float, Piece | BadPiece]] = []
    start = 0.0
    for item in items:
        start = start if item.start is None else item.start
        keyed.append((start, item))
    return [item for _, item in sorted(keyed, key=lambda pair: pair[0])]


def reject_repeats(items: Sequence[Piece | BadPiece]) -> Iterator[Piece | BadPiece]:
    """Programs that merge or convert subtitles may leave the same piece in the file twice."""
    seen: dict[tuple[float, float, str, str | None], int | str] = {}
    for item in items:
        if isinstance(item, Piece):
            first = seen.setdefault((item.start, item.end, item.text, item.speaker), item.position)
            if first != item.position:
                problem = Problem("repeated piece", f"the same times and text as {first}")
                item = BadPiece(item.position, problem, item.start, item.end)
        yield item


def settle_unnamed(items: Sequence[Piece | BadPiece], max_duration: float) -> list[Piece | BadPiece]:
    """Overlaps of pieces without speakers: cut where captions stay on the screen, else rejected.

    Those that are too long tell nothing about the others: a credit may stand over a whole film.
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
            f"{piece.start:g} to {piece.end:g} s beside another text "
            f"({rival.start:g} to {rival.end:g} s); correct the times",
        )
        settled[index] = BadPiece(piece.position, problem, piece.start, piece.end)
    return [settled.get(index, item) for index, item in enumerate(items)]


def _overlap(earlier: Piece, later: Piece) -> bool:
    """Whether two pieces overlap by more than loose borders."""
    shared = round(min(earlier.end, later.end) - later.start, 6)
    shorter = min(duration_of(earlier), duration_of(later))
    return shared > OVERLAP_TOLERANCE and shared > LOOSE_SHARE * shorter


def _cut_at_next(piece: Piece, following: Piece) -> Piece:
    """A piece up to the start of the next; as it is where that would leave nothing, or cut its words."""
    outlasts = piece.end >= following.end or (piece.words and piece.words[-1].end > following.start)
    return piece if outlasts or piece.start == following.start else replace(piece, end=following.start)


def _unnamed_rivals(pieces: Mapping[int, Piece]) -> dict[int, Piece]:
    """For each of these pieces that overlaps another of them by more than loose borders, that other one."""
    rivals: dict[int, Piece] = {}
    longest: int | None = None  # of all so far, the piece that ends last
    for index, piece in pieces.items():
        if longest is not None and _overlap(pieces[longest], piece):
            rivals.setdefault(longest, piece)
            rivals[index] = pieces[longest]
        if longest is None or piece.end > pieces[longest].end:
            longest = index
    return rivals


def reject_overlaps(items: Iterable[Piece | BadPiece]) -> list[Piece | BadPiece]:
    """Both pieces of two known speakers that talk at once become rejects; items are in the order of start."""
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
            f"({rival.start:g} to {rival.end:g} s); if these are tiers of the same speech, name one of them",
        )
        found[index] = BadPiece(item.position, problem, item.start, item.end)
    return found


def _rivals(spoken: Iterable[tuple[float, float, int, Piece]]) -> dict[int, Piece]:
    """For each piece that begins while one before it, of another speaker, still lasts: that which ends last.

    Args:
        spoken: Start, end, index and piece, in the order of start; of time that runs backwards too.
    """
    rivals: dict[int, Piece] = {}
    farthest: tuple[float, int, Piece] | None = None  # end, -index and piece: of all so far
    other: tuple[float, int, Piece] | None = None  # the same among the other speakers
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
