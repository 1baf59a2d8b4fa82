"""Defines the transcript of a recording: words and cues with their times."""

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Word:
    """A word with its punctuation, its times in seconds, and its probability if it is known.

    `text` begins with the space before it, as in openai/whisper's JSON files.
    """

    text: str
    start: float
    end: float
    probability: float | None = None


@dataclass(frozen=True)
class Cue:
    """A sentence or a part of one, as a subtitle shows it. `doubt` says why the text may be wrong."""

    start: float  # seconds
    end: float
    words: Sequence[Word]
    doubt: str | None = None  # None: no reason to doubt it

    @property
    def text(self) -> str:
        return join_words(self.words)


@dataclass(frozen=True)
class Transcript:
    """The text of a whole recording."""

    language: str | None
    duration: float  # seconds
    cues: Sequence[Cue]
    uncovered: float = 0.0  # seconds of speech that no word covers


def join_words(words: Sequence[Word]) -> str:
    """Return the text of words, without the space before the first."""
    return "".join(word.text for word in words).strip()


def shift(words: Sequence[Word], seconds: float, until: float) -> list[Word]:
    """Return the words, moved by `seconds`, with no time after `until`."""
    times = [(min(word.start + seconds, until), min(word.end + seconds, until)) for word in words]
    return [replace(word, start=start, end=end) for word, (start, end) in zip(words, times, strict=True)]
