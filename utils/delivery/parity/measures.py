"""Measure what a runtime wrote: errors, loops, missing speech, times of words, speed."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from utils.delivery.parity.rendering import Rendered
from utils.delivery.parity.sounds import JoinedClip, ParitySound
from utils.delivery.runtimes.runtime import Rendition, Way
from utils.delivery.transcript import Word
from utils.scoring.error_rates import ErrorCounts, count_errors, total_counts
from utils.scoring.word_alignment import align_words
from utils.text.loops import find_loop
from utils.text.normalizing import normalize_text
from utils.text.scripts import has_spaceless_script

CLOSE = (0.05, 0.2)  # seconds: an edge of a word that is so near is right

NORMALIZER = "script-safe"

LOST_SHARE = 0.8  # of the words of a clip that are deleted: then its seconds are missing


@dataclass(frozen=True)
class WordTiming:
    """How well the times of words fit the known edges of clips in recordings."""

    median_error: float | None  # seconds; None if no edge was found
    f1: tuple[float, float]  # of edges found within each distance in `CLOSE`


@dataclass(frozen=True)
class Score:
    """The scores of a runtime on clips or on recordings, in one way of use."""

    way: Way
    on_recordings: bool
    errors: ErrorCounts  # words, or characters in scripts without spaces; normalised
    loops: int  # sounds
    missing: float  # seconds of clips whose words are missing, a share of all seconds
    rtfx: float  # audio seconds for each second of work
    timing: WordTiming | None  # if the way has words


def score_renditions(sounds: Sequence[ParitySound], rendered: Iterable[Rendered]) -> list[Score]:
    """Score each way, first on clips, then on recordings."""
    groups: dict[tuple[Way, bool], list[Rendered]] = {}
    for item in rendered:
        groups.setdefault((item.way, sounds[item.sound].is_recording), []).append(item)
    return [_score(sounds, items) for items in groups.values()]


def _score(sounds: Sequence[ParitySound], items: Sequence[Rendered]) -> Score:
    way, own = items[0].way, [sounds[item.sound] for item in items]
    said = [normalize_text(sound.text, NORMALIZER) for sound in own]
    written = [normalize_text(item.rendition.text, NORMALIZER) for item in items]
    unit = "char" if has_spaceless_script(" ".join(said)) else "word"
    seconds = sum(sound.duration for sound in own)
    lost = sum(_lost_seconds(sound, item.rendition) for sound, item in zip(own, items, strict=True))
    return Score(
        way=way,
        on_recordings=own[0].is_recording,
        errors=total_counts(count_errors(said, written, unit)),  # type: ignore[arg-type]
        loops=sum(
            find_loop(text) is not None and find_loop(reference) is None
            for reference, text in zip(said, written, strict=True)
        ),
        missing=lost / seconds,
        rtfx=seconds / max(sum(item.seconds for item in items), 1e-9),
        timing=_time(own, items) if way.words and own[0].is_recording else None,
    )


def _lost_seconds(sound: ParitySound, rendition: Rendition) -> float:
    """Return the total seconds of the clips in which nearly all words are deleted."""
    text = normalize_text(rendition.text, NORMALIZER)
    return sum(
        piece.end - piece.start
        for piece, kept in zip(sound.pieces, _kept_words(sound.pieces, text), strict=True)
        if kept and kept.count(None) >= LOST_SHARE * len(kept)
    )


def _kept_words(pieces: Sequence[JoinedClip], text: str) -> list[list[int | None]]:
    """For each word of each clip, return the number of the hypothesis word that is aligned with it."""
    said = [normalize_text(piece.text, NORMALIZER).split() for piece in pieces]
    partners: list[int | None] = []
    number = 0
    for edit in align_words(" ".join(word for words in said for word in words), text):
        if edit.reference is not None:
            partners.append(None if edit.hypothesis is None else number)
        number += edit.hypothesis is not None
    found = iter(partners)
    return [[next(found) for _ in words] for words in said]


def _time(sounds: Sequence[ParitySound], items: Sequence[Rendered]) -> WordTiming:
    """Compare the start of the first and the end of the last word of each clip with its sound."""
    errors: list[float] = []
    num_edges = 0
    for sound, item in zip(sounds, items, strict=True):
        num_edges += 2 * len(sound.pieces)
        errors += _edge_errors(sound.pieces, item.rendition.words)
    right = [sum(error <= close for error in errors) for close in CLOSE]
    low, high = (2 * count / max(num_edges + len(errors), 1) for count in right)
    return WordTiming(statistics.median(errors) if errors else None, (low, high))


def _edge_errors(pieces: Sequence[JoinedClip], words: Sequence[Word]) -> list[float]:
    """Return the distance of each edge whose word was written, in seconds."""
    spread = [(part, word) for word in words for part in normalize_text(word.text, NORMALIZER).split()]
    partners = _kept_words(pieces, " ".join(part for part, _ in spread))
    errors = []
    for piece, own in zip(pieces, partners, strict=True):
        if own and own[0] is not None:
            errors.append(abs(spread[own[0]][1].start - piece.start))
        if own and own[-1] is not None:
            errors.append(abs(spread[own[-1]][1].end - piece.end))
    return errors
