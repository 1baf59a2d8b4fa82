"""What a recording says: words and cues with their times."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """A word with its punctuation, its times in seconds, and its probability if it is known."""

    text: str
    start: float
    end: float
    probability: float | None = None


@dataclass(frozen=True)
class Cue:
    """A sentence or a part of one, as a subtitle shows it. `doubt` says why the text may be wrong."""

    start: float  # seconds
    end: float
    text: str
    words: Sequence[Word] = ()
    doubt: str | None = None  # None: nothing speaks against it


@dataclass(frozen=True)
class Transcript:
    """The text of a whole recording."""

    language: str | None
    duration: float  # seconds
    cues: Sequence[Cue]
    uncovered: float = 0.0  # seconds of speech that no word covers

    @property
    def text(self) -> str:
        return " ".join(cue.text for cue in self.cues)
