"""Reads Praat's TextGrids."""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from utils.data.fields import shown
from utils.data.segmentation.pieces import BadPiece, Piece
from utils.data.transcripts.pieces import LATEST_SECOND, build_piece
from utils.runtime.problems import BadItem, Problem
from utils.text.cleaning import clean_text

# Praat reads strings, free-standing numbers and flags. All else in the long form is a comment for people.
_PRAAT_TOKEN = re.compile(r'"([^"]*(?:""[^"]*)*)"|![^\r\n]*|<[^<>\s]*>|([^\s"!<]+)')

_PRAAT_NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")

# Labels of aligners (MFA, WebMAUS) for intervals without speech.
_PRAAT_SILENCE = frozenset(("", "sil", "sp", "spn", "<sil>", "<p:>", "<p>", "#", "_"))

_SOUND_TIER = re.compile(r"(?:.*[\W_])?(?:phones?|phonemes?|syllables?)|(?:KAN-)?MAU", re.IGNORECASE)


_POINTS = Problem("tier not read", "it has points, which have no duration")


@dataclass(frozen=True)
class _Tier:
    """A tier of a TextGrid.

    An interval has a number, a start, an end and a text. A tier of points has no intervals.
    """

    name: str
    intervals: list[tuple[int, float, float, str]]
    is_points: bool
    announced: int
    found: int


def _praat_tokens(text: str) -> Iterator[str | float]:
    """Yield the strings and numbers of a Praat file in order."""
    for match in _PRAAT_TOKEN.finditer(text):
        string, word = match.groups()
        if string is not None:
            yield string.replace('""', '"')
        elif word and _PRAAT_NUMBER.fullmatch(word):
            yield float(word)


def _take(tokens: deque[str | float], *kinds: type[str] | type[float]) -> list[str | float] | None:
    """Take the next values if they have these types. Otherwise return None."""
    if len(tokens) < len(kinds) or not all(map(isinstance, tokens, kinds)):
        return None
    return [tokens.popleft() for _ in kinds]


def read_textgrid(text: str, tier: str | None = None) -> Iterator[Piece | BadPiece]:
    """Read the interval tiers of a Praat TextGrid, in its long or short form.

    Empty intervals, and intervals that aligners mark as silence, are pauses. Without `tier`, all interval
    tiers are read except tiers with names of single sounds (`phones`). If there are several tiers, the name
    of the tier is the speaker. Format: https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html.

    Raises:
        BadItem: It is not a TextGrid, or has no tier of that name.
    """
    tiers = [found for found in _parse_textgrid(text) if found.found or found.announced]
    if tier is not None:
        names = choose_names([found.name for found in tiers], tier)
        chosen = [found for found in tiers if found.name in names]
    else:
        chosen = [found for found in tiers if _why_not(found) is None]
        for found in tiers:
            if problem := _why_not(found):
                yield BadPiece(f"tier {found.name!r}", problem)
    several = sum(bool(found.intervals) for found in chosen) > 1
    for found in chosen:
        yield from _read_tier(found, found.name if several else None)


def _why_not(tier: _Tier) -> Problem | None:
    """Return why a tier is read only if the user names it. None if it is read in any case."""
    if tier.is_points:
        return _POINTS
    if _SOUND_TIER.fullmatch(tier.name):
        return Problem("tier not read", "it seems to have single sounds; name the tier to read it")
    return None


def _read_tier(tier: _Tier, speaker: str | None) -> Iterator[Piece | BadPiece]:
    for number, start, end, text in tier.intervals:
        yield build_piece(f"tier {tier.name!r}, interval {number}", start, end, text, speaker)
    if tier.is_points:
        yield BadPiece(f"tier {tier.name!r}", _POINTS)
    elif tier.found < tier.announced:
        problem = Problem(
            "damaged tier", f"expected {tier.announced} intervals as in its head, found {tier.found}"
        )
        yield BadPiece(f"tier {tier.name!r}", problem)


def _parse_textgrid(text: str) -> list[_Tier]:
    tokens = deque(_praat_tokens(text))
    head = _take(tokens, str, str)
    if head is None or not str(head[0]).startswith("ooTextFile") or head[1] != "TextGrid":
        raise BadItem("not a TextGrid", f"it begins with {shown(text[:40])}, expected the line File type")
    tiers: list[_Tier] = []
    while tokens:
        kind = tokens.popleft()
        if kind not in ("IntervalTier", "TextTier"):
            continue  # times and number of tiers
        name, sizes = _take(tokens, str), _take(tokens, float, float, float)
        if name is None or sizes is None:
            raise BadItem("damaged TextGrid", f"tier {len(tiers) + 1} has no name or no times")
        announced = int(min(float(sizes[2]), LATEST_SECOND))
        tiers.append(_parse_tier(tokens, str(name[0]), kind == "TextTier", announced))
    return tiers


def _parse_tier(tokens: deque[str | float], name: str, is_points: bool, announced: int) -> _Tier:
    intervals: list[tuple[int, float, float, str]] = []
    found = 0
    while found < announced:
        row = _take(tokens, *((float, str) if is_points else (float, float, str)))
        if row is None:
            break
        found += 1
        label = clean_text(str(row[-1]))
        if not is_points and label.lower() not in _PRAAT_SILENCE:
            intervals.append((found, float(row[0]), float(row[1]), label))
    return _Tier(name, intervals, is_points, announced, found)


def choose_names(names: Sequence[str], wanted: str) -> set[str]:
    """Return the tiers with that name. If there are none, return those that match it as a pattern."""
    chosen = {name for name in names if name == wanted}
    chosen = chosen or {name for name in names if fnmatchcase(name, wanted)}
    if not chosen:
        raise BadItem("no such tier", f"{wanted!r}; found {', '.join(map(repr, names[:9])) or 'none'}")
    return chosen
