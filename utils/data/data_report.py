"""The report on a prepared dataset: what became of everything that was seen, and what is kept, in numbers."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from utils.runtime.files import write_json
from utils.runtime.records import record_from

NUMBERS_FILE = "data_report.json"

ARGUMENTS_FILE = "preprocess.yaml"  # beside it: what the dataset was made with


@dataclass(frozen=True)
class SplitReport:
    """What one split holds. Durations in seconds."""

    utterances: int
    hours: float
    mean_duration: float
    longest: float
    distinct_texts: int
    speakers: int


@dataclass(frozen=True)
class Distribution:
    """Counts between edges, and the values below which a twentieth, half and nineteen twentieths lie."""

    unit: str
    edges: list[float]  # one more than counts
    counts: list[int]
    above: int  # the last edge
    p5: float | None  # None where nothing was counted
    median: float | None
    p95: float | None


@dataclass(frozen=True)
class NamedHours:
    """A speaker, a group or a language, and its hours."""

    name: str
    hours: float


@dataclass(frozen=True)
class Names:
    """The names of one kind, those with the most hours first."""

    distinct: int
    largest: list[NamedHours]
    hours_of_others: float


@dataclass(frozen=True)
class Speakers(Names):
    """The same of speakers, whom not every corpus names."""

    clips_without: int


@dataclass(frozen=True)
class CharacterCount:
    """A character and how often it is used."""

    character: str
    count: int


@dataclass(frozen=True)
class Characters:
    """The characters of all texts, the commonest first."""

    distinct: int
    total: int
    counts: list[CharacterCount]
    count_of_others: int


@dataclass(frozen=True)
class Silence:
    """Shares of Whisper's 30 s."""

    share_of_window: float


@dataclass(frozen=True)
class DynamicContext:
    """What a dynamic audio context spares in training on this; an estimate, see `speed_up.py`."""

    batch_size: int
    silence_run: int
    mean_label_tokens: float
    mean_context: float  # seconds of clips and tail
    mean_seconds_of_work: float  # with what stands for the silence, at 50 positions a second
    speed_up: float  # how many times as fast training is as on 30 s
    is_estimate: bool = True


@dataclass(frozen=True)
class SplitNames:
    """How many speakers and groups a split has."""

    clips: int
    hours: float
    speakers: int
    groups: int


@dataclass(frozen=True)
class Statistics:
    """What the clips that are kept are like, over all splits."""

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
    """What became of everything that was seen; `seen == kept + rejected`."""

    seen: int
    kept: int
    rejected: int
    hours: float
    splits: dict[str, SplitReport]
    reasons: dict[str, int]
    """Rejects by kind, the commonest first."""
    split_by: str | None
    """What the splits that were cut off keep apart: speaker, recording or text; None: all were given."""
    shared_speakers: int
    """Speakers in more than one split."""
    shared_recordings: int
    shared_texts: int
    leaked_utterances: int
    """Utterances of validation and test whose normalised text is in train."""
    statistics: Statistics
    credit: str | None = None
    notes: tuple[str, ...] = ()


def write_data_report(folder: Path, report: DataReport) -> None:
    """Write the report beside the data."""
    write_json(folder / NUMBERS_FILE, dataclasses.asdict(report))


def read_data_report(folder: Path) -> DataReport:
    """The report of a prepared dataset."""
    return record_from(DataReport, json.loads((folder / NUMBERS_FILE).read_text(encoding="utf-8")))
