"""Defines the records that a reader yields: utterances that are not yet decoded, and rejects with their
reasons.
"""

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
"""Names of columns that have a fixed meaning.

If a source has a column with such a name, it is renamed to `original_<name>`.
"""

Scalar = str | int | float | bool

Audio = Path | bytes | ArchiveMember
"""The audio of an utterance: a file, the bytes of a file, or a member of a tar or zip archive."""


@dataclass(frozen=True)
class TimedText:
    """Text with its start and end in seconds, within an utterance or a recording."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Utterance:
    """One transcribed piece of audio, not yet decoded.

    `start` and `end` are seconds within `audio`. Both are None for the whole audio. `source` and `position`
    say where the utterance was found. Rejects need them. `id` is unique within one source. `text` is clean
    and not empty.
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
    recording: str | None = None  # the same for all utterances of a recording; None: `audio` identifies it
    split: str | None = None
    segments: tuple[TimedText, ...] = ()  # the text in timed segments, seconds from the utterance's start
    previous_text: str | None = None  # the text right before it in the same recording
    extra: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Reject:
    """One item that is not kept, with the reason."""

    source: str
    position: int | str
    problem: Problem


@dataclass(frozen=True)
class Items:
    """Items that are read again, in the same order, on each iteration."""

    read: Callable[[], Iterator[Utterance | Reject]] = field(repr=False)

    def __iter__(self) -> Iterator[Utterance | Reject]:
        return self.read()


@dataclass(frozen=True)
class Source:
    """What a reader found. `items` have the same order on each reading and are not kept in memory.

    All utterances of one recording follow each other, so that it is decoded once.
    """

    items: Iterable[Utterance | Reject]
    total: int | None = None  # number of items, if it is known in advance
    credit: str | None = None
    notes: tuple[str, ...] = ()
    speaker_rule: str | None = None  # by which the speakers were found, see `name_speakers`


def check_any_usable(items: Iterable[Utterance | Reject], name: str) -> None:
    """Check that at least one item is an utterance.

    Raises:
        UserError: No item is an utterance. The message has the most frequent reasons.
    """
    rejects = []
    for item in items:
        if isinstance(item, Utterance):
            return
        rejects.append(item)
    raise UserError(f"{name}: no usable utterance. {commonest_reasons(rejects)}")


def commonest_reasons(rejects: Iterable[Reject], most: int = 3) -> str:
    """Return the most frequent kinds of reject, each with its count and first example."""
    first: dict[str, Reject] = {}
    counts: Counter[str] = Counter()
    for reject in rejects:
        first.setdefault(reject.problem.kind, reject)
        counts[reject.problem.kind] += 1
    shown = [
        f"{count} × {first[kind].problem} ({first[kind].source}, {first[kind].position})"
        for kind, count in counts.most_common(most)
    ]
    return f"Rejected: {'; '.join(shown)}." if shown else "It has no items."
