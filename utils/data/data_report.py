"""The report on a prepared dataset: items seen, kept and rejected, and statistics of the clips."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from utils.runtime.files import write_json
from utils.runtime.records import record_from

NUMBERS_FILE = "data_report.json"

ARGUMENTS_FILE = "preprocess.yaml"  # in the same folder: the arguments that made the dataset


@dataclass(frozen=True)
class SplitReport:
    """The contents of one split. Durations are in seconds."""

    utterances: int
    hours: float
    mean_duration: float
    longest: float
    distinct_texts: int
    speakers: int


@dataclass(frozen=True)
class Distribution:
    """A histogram with its 5 %, 50 % and 95 % quantiles."""

    unit: str
    edges: list[float]  # one more than there are counts
    counts: list[int]
    above: int  # values above the last edge
    p5: float | None  # None if nothing was counted
    median: float | None
    p95: float | None


@dataclass(frozen=True)
class NamedHours:
    """A speaker, group or language, and its hours."""

    name: str
    hours: float


@dataclass(frozen=True)
class Names:
    """The names of one kind. Names with the most hours come first."""

    distinct: int
    largest: list[NamedHours]
    hours_of_others: float


@dataclass(frozen=True)
class Speakers(Names):
    """The names of the speakers. Not every corpus has them."""

    clips_without: int


@dataclass(frozen=True)
class CharacterCount:
    """A character and how often it occurs."""

    character: str
    count: int


@dataclass(frozen=True)
class Characters:
    """The characters of all texts, the most frequent first."""

    distinct: int
    total: int
    counts: list[CharacterCount]
    count_of_others: int


@dataclass(frozen=True)
class Silence:
    """The share of Whisper's 30 s window that is silence."""

    share_of_window: float


@dataclass(frozen=True)
class DynamicContext:
    """An estimate of the time that a dynamic audio context saves in training on this dataset.

    See `speed_up.py`.
    """

    batch_size: int
    silence_run: int
    mean_label_tokens: float
    mean_context: float  # seconds of clips and tail
    mean_seconds_of_work: float  # including the condensed silence, at 50 positions a second
    speed_up: float  # speed of training divided by its speed on 30 s
    is_estimate: bool = True


@dataclass(frozen=True)
class SplitNames:
    """One split's size, speakers and groups."""

    clips: int
    hours: float
    speakers: int
    groups: int


@dataclass(frozen=True)
class Statistics:
    """Statistics of the kept clips of all splits."""

    splits: dict[str, SplitNames]
    clips: int
    hours: float
    speakers: Speakers
    groups: Names
    languages: Names
    duration: Distribution
    label_tokens: Distribution
    speech_rate: Distribution
    characters: Characters
    silence: Silence
    dynamic_context: DynamicContext


@dataclass(frozen=True)
class DataReport:
    """The report on a prepared dataset. It always holds that `seen == kept + rejected`."""

    seen: int
    kept: int
    rejected: int
    hours: float
    splits: dict[str, SplitReport]
    reasons: dict[str, int]
    """Rejects of each kind, the most frequent first."""
    split_by: str | None
    """The level at which the splits made here were separated: speaker, recording or text.

    None if the source gave all splits.
    """
    shared_speakers: int
    """Speakers in more than one split."""
    shared_recordings: int
    shared_texts: int
    leaked_utterances: int
    """Utterances in validation and test whose normalised text is also in train."""
    statistics: Statistics
    credit: str | None = None
    notes: tuple[str, ...] = ()


def write_data_report(folder: Path, report: DataReport) -> None:
    """Write the report into the dataset's folder."""
    write_json(folder / NUMBERS_FILE, dataclasses.asdict(report))


def read_data_report(folder: Path) -> DataReport:
    """Read the report of a prepared dataset."""
    return record_from(DataReport, json.loads((folder / NUMBERS_FILE).read_text(encoding="utf-8")))
