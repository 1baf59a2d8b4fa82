"""Timed pieces of a transcript to segments that fit Whisper: joined over short pauses, cut at long ones."""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from utils.text import clean_text
from utils.utterances import TimedText

END_TOLERANCE = 0.05
"""Seconds a segment may reach beyond its audio: transcripts are often rounded to tenths. It is clipped."""

OVERLAP_TOLERANCE = 0.2
"""Seconds by which pieces of two speakers may overlap: borders set by hand are hardly finer."""

LOOSE_SHARE = 0.25
"""Share of the shorter of two pieces without speakers by which they may overlap too."""

FEWEST_ON_SCREEN = 3
"""Overlaps from which a file may be one whose lines stay on the screen while the next one is spoken."""

MOST_PIECES = 200  # joined into one segment; 30 s of single words are about 100

# Scripts without spaces between words: Chinese characters, kana, their punctuation and full-width forms.
_UNSPACED = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")


@dataclass(frozen=True)
class Piece:
    """One timed piece of a transcript as its file has it, in seconds of the recording.

    `text` is clean and not empty, `end` is after `start`. `words` are empty, or in order, without overlap and
    within the piece, and spell the text when joined as they are (so they may begin with a space).
    """

    position: int | str
    start: float
    end: float
    text: str
    speaker: str | None = None
    words: tuple[TimedText, ...] = ()


@dataclass(frozen=True)
class BadPiece:
    """A piece that gives no segment, and why: `kind: details`. The times are None where the file has none."""

    position: int | str
    reason: str
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Segment:
    """Speech to be cut out of a recording, in seconds. `position` is that of its first piece.

    The times of `segments`, the pieces it was joined from, count from the segment's start.
    """

    position: int | str
    start: float
    end: float
    text: str
    speaker: str | None
    segments: tuple[TimedText, ...]
    previous_text: str | None


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
    items = _settle_unnamed(list(_reject_repeats(_in_time_order(pieces))), max_duration)
    items = _reject_overlaps(items)
    fitting = _in_time_order(part for item in items for part in _cut_long(item, max_duration))
    groups = [
        group for run in _runs(fitting, max_gap) for group in _part_run(run, target, min_duration)
    ]  # a reject is a group of its own
    previous_text = None
    for group, (earliest, latest) in zip(groups, _free_room(groups), strict=True):
        item = _build_segment(group, previous_text, min_duration)
        previous_text = None
        if isinstance(item, Segment):
            previous_text = item.text
            item = _pad(item, earliest, latest, padding, max_duration)
        yield item


def segment_problem(start: float, end: float, audio_duration: float = math.inf) -> str | None:
    """Why audio from `start` to `end` seconds cannot be cut out, or None."""
    if end <= start:
        return f"end not after start: segment {start:g} to {end:g} s"
    if end > audio_duration + END_TOLERANCE:
        return f"segment beyond the end of the audio: {start:g} to {end:g} s of {audio_duration:.2f} s"
    if start >= audio_duration:
        return f"segment beyond the end of the audio: starts at {start:g} s of {audio_duration:.2f} s"
    return None


def join_texts(texts: Iterable[str]) -> str:
    """Texts one after the other, with a space between them unless their script has none."""
    joined = ""
    for text in texts:
        unspaced = joined and text and _UNSPACED.match(joined[-1]) and _UNSPACED.match(text[0])
        joined += text if unspaced or not joined else f" {text}"
    return joined


# ---- order and overlap -------------------------------------------------------------------------------------


def _in_time_order(items: Iterable[Piece | BadPiece]) -> list[Piece | BadPiece]:
    """Sorted by start; a reject without times stays behind the item that came before it."""
    keyed: list[tuple[float, Piece | BadPiece]] = []
    start = 0.0
    for item in items:
        start = start if item.start is None else item.start
        keyed.append((start, item))
    return [item for _, item in sorted(keyed, key=lambda pair: pair[0])]


def _reject_repeats(items: Sequence[Piece | BadPiece]) -> Iterator[Piece | BadPiece]:
    """Programs that merge or convert subtitles may leave the same piece in the file twice."""
    seen: dict[tuple[float, float, str, str | None], int | str] = {}
    for item in items:
        if isinstance(item, Piece):
            first = seen.setdefault((item.start, item.end, item.text, item.speaker), item.position)
            if first != item.position:
                reason = f"repeated piece: the same times and text as {first}"
                item = BadPiece(item.position, reason, item.start, item.end)
        yield item


def _settle_unnamed(items: Sequence[Piece | BadPiece], max_duration: float) -> list[Piece | BadPiece]:
    """Overlaps of pieces without speakers: cut where captions stay on the screen, else rejected.

    Those that are too long tell nothing about the others: a credit may stand over a whole film.
    """
    pieces = {
        index: item
        for index, item in enumerate(items)
        if isinstance(item, Piece) and item.speaker is None and _duration(item) <= max_duration
    }
    pairs = [pair for pair in itertools.pairwise(pieces) if _overlap(pieces[pair[0]], pieces[pair[1]])]
    if len(pairs) >= FEWEST_ON_SCREEN and 2 * len(pairs) > len(pieces) - 1:
        for index, following in pairs:
            pieces[index] = _cut_at_next(pieces[index], pieces[following])
    settled: dict[int, Piece | BadPiece] = {**pieces}
    for index, rival in _unnamed_rivals(pieces).items():
        piece = pieces[index]
        reason = (
            f"overlapping speech: {piece.start:g} to {piece.end:g} s beside another text "
            f"({rival.start:g} to {rival.end:g} s); correct the times"
        )
        settled[index] = BadPiece(piece.position, reason, piece.start, piece.end)
    return [settled.get(index, item) for index, item in enumerate(items)]


def _overlap(earlier: Piece, later: Piece) -> bool:
    """Whether two pieces overlap by more than loose borders."""
    shared = round(min(earlier.end, later.end) - later.start, 6)
    shorter = min(_duration(earlier), _duration(later))
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


def _reject_overlaps(items: Iterable[Piece | BadPiece]) -> list[Piece | BadPiece]:
    """Both pieces of two known speakers that talk at once become rejects; items are in the order of start."""
    found = list(items)
    spoken = [
        (index, item)
        for index, item in enumerate(found)
        if isinstance(item, Piece) and item.speaker is not None
    ]
    rivals = _rivals_before(spoken)
    for index, rival in _rivals_after(spoken).items():
        rivals.setdefault(index, rival)
    for index, rival in rivals.items():
        item = found[index]
        reason = (
            f"overlapping speech: {item.start:g} to {item.end:g} s while {rival.speaker!r} speaks "
            f"({rival.start:g} to {rival.end:g} s); if these are tiers of the same speech, name one of them"
        )
        found[index] = BadPiece(item.position, reason, item.start, item.end)
    return found


def _rivals_before(spoken: Sequence[tuple[int, Piece]]) -> dict[int, Piece]:
    """For each piece that begins while another speaker's earlier piece still lasts, that earlier piece."""
    rivals: dict[int, Piece] = {}
    longest: Piece | None = None  # of all so far, the piece that ends last
    second: Piece | None = None  # the same among the other speakers
    for index, piece in spoken:
        rival = second if longest and longest.speaker == piece.speaker else longest
        if rival and round(rival.end - piece.start, 6) > OVERLAP_TOLERANCE:
            rivals[index] = rival
        if longest is None or piece.end > longest.end:
            if longest and longest.speaker != piece.speaker:
                second = longest
            longest = piece
        elif piece.speaker != longest.speaker and (second is None or piece.end > second.end):
            second = piece
    return rivals


def _rivals_after(spoken: Sequence[tuple[int, Piece]]) -> dict[int, Piece]:
    """For each piece that still lasts when another speaker begins, the piece of that speaker."""
    rivals: dict[int, Piece] = {}
    following: Piece | None = None
    other: Piece | None = None  # the next one of another speaker than `following`
    for index, piece in reversed(spoken):
        rival = other if following and following.speaker == piece.speaker else following
        if rival and round(piece.end - rival.start, 6) > OVERLAP_TOLERANCE:
            rivals[index] = rival
        if following and following.speaker != piece.speaker:
            other = following
        following = piece
    return rivals


# ---- long pieces -------------------------------------------------------------------------------------------


def _cut_long(item: Piece | BadPiece, max_duration: float) -> list[Piece | BadPiece]:
    """The item itself, or the parts of a piece that is too long, or the reject it becomes."""
    if isinstance(item, BadPiece) or _duration(item) <= max_duration or not item.words:
        return [item]
    found = f"segment too long: {_duration(item):g} s, expected at most {max_duration:g} s"
    parts: list[Piece | BadPiece] = []
    waiting = [(0, len(item.words))]
    while waiting:
        first, end = waiting.pop()
        part = _words_as_piece(item, first, end)
        if _duration(part) <= max_duration:
            parts.append(part)
            continue
        cut = _best_cut(part)
        if cut is None:
            reason = f"{found}; its words leave no place to cut it, so cut it in the transcript"
            return [BadPiece(item.position, reason, item.start, item.end)]
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


# ---- joining -----------------------------------------------------------------------------------------------


def _runs(items: Sequence[Piece | BadPiece], max_gap: float) -> Iterator[list[Piece] | BadPiece]:
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


def _part_run(
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


def _build_segment(
    group: list[Piece] | BadPiece, previous_text: str | None, min_duration: float
) -> Segment | BadPiece:
    if isinstance(group, BadPiece):
        return group
    start, end = group[0].start, max(piece.end for piece in group)
    duration = round(end - start, 6)  # 0.5 written as 1.1 to 1.6 must not count as 0.49999
    if duration < min_duration:
        reason = f"segment too short: {duration:g} s, expected at least {min_duration:g} s"
        return BadPiece(group[0].position, reason, start, end)
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
    spare = max(0.0, max_duration - _duration(segment)) / 2
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


def _duration(item: Piece | Segment) -> float:
    return round(item.end - item.start, 6)
