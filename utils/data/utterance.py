"""What a reader of speech yields: utterances not yet decoded, and rejects with their reasons."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from utils.data.archives.members import ArchiveMember
from utils.runtime.errors import UserError
from utils.runtime.problems import Problem

# fmt: off
PREPARED_COLUMNS = (
    "id", "audio", "text", "duration", "language", "speaker", "group", "start", "end", "source", "split",
    "previous_text", "segments",
)
# fmt: on
"""Columns with a meaning of their own; what a source has under such a name is kept as `original_<name>`."""

Scalar = str | int | float | bool

Audio = Path | bytes | ArchiveMember
"""Where the audio of an utterance is: a file, the bytes of one, or a member of a tar or zip archive."""


@dataclass(frozen=True)
class TimedText:
    """Text with its place in seconds, within whatever it belongs to."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Utterance:
    """One transcribed stretch of audio, not yet decoded.

    `start` and `end` are seconds within `audio`, both None for all of it. `source` and `position` say where
    it came from, for rejects; `id` is unique within one source. `text` is clean and not empty.
    """

    id: str
    audio: Audio
    text: str
    source: str
    position: int | str
    start: float | None = None
    end: float | None = None
    language: str | None = None
    speaker: str | None = None
    group: str | None = None
    recording: str | None = None  # utterances of one recording share this; None: `audio` tells
    split: str | None = None
    segments: tuple[TimedText, ...] = ()  # the text in timed pieces, seconds from the utterance's start
    previous_text: str | None = None  # what was said right before, in the same recording
    extra: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Reject:
    """One item that is not kept, and why."""

    source: str
    position: int | str
    problem: Problem


@dataclass(frozen=True)
class Items:
    """Items that are read anew, in the same order, each time they are asked for."""

    read: Callable[[], Iterator[Utterance | Reject]] = field(repr=False)

    def __iter__(self) -> Iterator[Utterance | Reject]:
        return self.read()


@dataclass(frozen=True)
class Source:
    """What a reader found. `items` come in the same order each time it is read and are not held in memory.

    Utterances cut from one recording stand together, so that it is decoded once.
    """

    items: Iterable[Utterance | Reject]
    total: int | None = None  # of items, where that is known beforehand
    credit: str | None = None
    notes: tuple[str, ...] = ()


def check_any_usable(items: Iterable[Utterance | Reject], name: str) -> None:
    """Raise a UserError with the commonest reasons unless at least one item is an utterance."""
    rejects = []
    for item in items:
        if isinstance(item, Utterance):
            return
        rejects.append(item)
    raise UserError(f"{name}: no usable utterance. {commonest_reasons(rejects)}")


def commonest_reasons(rejects: Iterable[Reject], most: int = 3) -> str:
    """The commonest kinds of reject, each with its count and first example."""
    first: dict[str, Reject] = {}
    counts: Counter[str] = Counter()
    for reject in rejects:
        first.setdefault(reject.problem.kind, reject)
        counts[reject.problem.kind] += 1
    shown = [
        f"{count} × {first[kind].problem} ({first[kind].source}, {first[kind].position})"
        for kind, count in counts.most_common(most)
    ]
    return f"Rejected: {'; '.join(shown)}." if shown else "It holds no items."
