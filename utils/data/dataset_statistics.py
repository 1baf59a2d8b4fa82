"""What a dataset holds, counted one utterance at a time in memory that does not grow with it.

Everything is counted in whole numbers, so that the counts of parts, added up in any order, are those of the
whole. Names, of which there may be very many, are counted by a sketch that keeps this (`NameCounter`).
"""

from collections import Counter
from dataclasses import dataclass, field

from utils.data.counters import (
    MICROSECONDS,
    MOST_NAMES,
    Count,
    Histogram,
    NameCounter,
    rounded,
    shortened,
    sorted_counts,
)
from utils.data.speed_up import BATCH_SIZE, CHARACTERS_PER_TOKEN, MOST_PLANNED_CLIPS, estimate_speed_up
from utils.data.split_names import SPLITS
from utils.model.context import FULL_CONTEXT
from utils.model.silence import SILENCE_RUN

DURATION_EDGES = tuple(step / 10 for step in range(301))  # seconds; fine, because contexts follow from it

TOKEN_EDGES = tuple(range(0, 449, 4))  # 448 is the longest label

RATE_EDGES = tuple(range(0, 41))  # characters a second

SHOWN_DURATION_BINS = 5  # of the fine histogram that make one bin of the report: 0.5 s

MOST_CHARACTERS = 20_000  # distinct ones counted one by one: more than any script in use has

MOST_LISTED_CHARACTERS = 400

MOST_LISTED_NAMES = 20


@dataclass
class SplitCounts:
    """What one split holds so far. Names are counted with their microseconds."""

    clips: int = 0
    microseconds: int = 0
    without_speaker: int = 0  # clips
    speakers: NameCounter = field(default_factory=lambda: NameCounter(MOST_NAMES))
    groups: NameCounter = field(default_factory=lambda: NameCounter(MOST_NAMES))
    languages: NameCounter = field(default_factory=lambda: NameCounter(MOST_NAMES))
    durations: Histogram = field(default_factory=lambda: Histogram(DURATION_EDGES))

    def merge(self, other: "SplitCounts") -> None:
        self.clips += other.clips
        self.microseconds += other.microseconds
        self.without_speaker += other.without_speaker
        self.speakers.merge(other.speakers)
        self.groups.merge(other.groups)
        self.languages.merge(other.languages)
        self.durations.merge(other.durations)

    def as_dict(self) -> Count:
        return {
            "clips": self.clips,
            "hours": _hours(self.microseconds),
            "speakers": self.speakers.distinct,
            "groups": self.groups.distinct,
        }


class DatasetStatistics:
    """Counts the kept utterances of a dataset; `as_dict` is part of `data_report.json`."""

    def __init__(self) -> None:
        self._splits: dict[str, SplitCounts] = {}
        self._tokens = Histogram(TOKEN_EDGES)
        self._num_tokens = 0
        self._rates = Histogram(RATE_EDGES)
        self._characters = NameCounter(MOST_CHARACTERS)
        self._with_speech = self._clip_microseconds = self._speech_microseconds = 0

    def add(
        self,
        *,
        text: str,
        duration: float,
        split: str,
        num_tokens: int | None = None,
        speech_seconds: float | None = None,
        language: str | None = None,
        speaker: str | None = None,
        group: str | None = None,
    ) -> None:
        """Count one kept utterance.

        Args:
            text: As it is stored.
            duration: Seconds of the clip, above 0.
            split: `train`, `validation` or `test`.
            num_tokens: Of the label, where they were counted.
            speech_seconds: Of the clip, pauses left out, where they were measured.
            language: Whisper's code, where known.
            speaker: Where known.
            group: Where known.
        """
        microseconds = round(duration * MICROSECONDS)
        counts = self._splits.setdefault(split, SplitCounts())
        counts.clips += 1
        counts.microseconds += microseconds
        counts.without_speaker += speaker is None
        counts.durations.add(duration)
        named = ((counts.speakers, speaker), (counts.groups, group), (counts.languages, language))
        for counter, name in named:
            if name is not None:
                counter.add({shortened(name): microseconds})
        self._characters.add(Counter(text))
        self._rates.add(len(text) / duration)
        if num_tokens is not None:
            self._tokens.add(num_tokens)
            self._num_tokens += num_tokens
        if speech_seconds is not None:
            self._with_speech += 1
            self._clip_microseconds += microseconds
            self._speech_microseconds += round(speech_seconds * MICROSECONDS)

    def merge(self, other: "DatasetStatistics") -> None:
        """Add what another one has counted."""
        for name, counts in other._splits.items():
            self._splits.setdefault(name, SplitCounts()).merge(counts)
        self._tokens.merge(other._tokens)
        self._num_tokens += other._num_tokens
        self._rates.merge(other._rates)
        self._characters.merge(other._characters)
        self._with_speech += other._with_speech
        self._clip_microseconds += other._clip_microseconds
        self._speech_microseconds += other._speech_microseconds

    def as_dict(self) -> Count:
        """Everything as plain values with sorted keys, the same for the same utterances in any order."""
        whole = SplitCounts()
        for counts in self._splits.values():
            whole.merge(counts)
        report = {
            "splits": {name: self._splits[name].as_dict() for name in SPLITS if name in self._splits},
            "clips": whole.clips,
            "hours": _hours(whole.microseconds),
            "speakers": _describe_names(whole.speakers) | {"clips_without": whole.without_speaker},
            "groups": _describe_names(whole.groups),
            "languages": _describe_names(whole.languages),
            "duration": whole.durations.as_dict("seconds", SHOWN_DURATION_BINS),
            "label_tokens": self._tokens.as_dict("tokens"),
            "speech_rate": self._rates.as_dict("characters per second"),
            "characters": _describe_characters(self._characters),
            "silence": self._describe_silence(whole),
            "dynamic_context": self._estimate_dynamic_context(whole),
        }
        return sorted_counts(report)

    def _describe_silence(self, whole: SplitCounts) -> Count:
        """Shares of the 30 s window; of the clips themselves only where speech was measured."""
        measured = self._with_speech
        window = FULL_CONTEXT * MICROSECONDS
        return {
            "share_of_window": rounded(1 - whole.microseconds / (whole.clips * window))
            if whole.clips
            else None,
            "measured_clips": measured,
            "share_of_window_without_pauses": rounded(1 - self._speech_microseconds / (measured * window))
            if measured
            else None,
            "share_of_clips": rounded(1 - self._speech_microseconds / max(self._clip_microseconds, 1))
            if measured
            else None,
        }

    def _estimate_dynamic_context(self, whole: SplitCounts) -> Count | None:
        """For the clips of train, or all where there is no train."""
        counts = self._splits.get("train", whole)
        if not counts.clips:
            return None
        num_clips = min(counts.clips, MOST_PLANNED_CLIPS)
        durations = counts.durations.quantiles([(index + 0.5) / num_clips for index in range(num_clips)])
        if self._tokens.total:
            mean_tokens = self._num_tokens / self._tokens.total
        else:
            mean_tokens = self._characters.total / max(whole.clips, 1) / CHARACTERS_PER_TOKEN
        condensed = estimate_speed_up(durations, mean_tokens, silence_run=SILENCE_RUN)
        return {
            "is_estimate": True,
            "batch_size": BATCH_SIZE,
            "silence_run": SILENCE_RUN,
            "mean_label_tokens": rounded(mean_tokens),
            "mean_context": rounded(condensed.mean_context),
            "mean_seconds_of_work": rounded(condensed.mean_seconds_of_work),
            "speed_up": rounded(condensed.speed_up),
        }


def _describe_names(counter: NameCounter) -> Count:
    largest = counter.largest(MOST_LISTED_NAMES)
    return {
        "distinct": counter.distinct,
        "is_exact": counter.is_exact,
        "largest": [{"name": name, "hours": _hours(number)} for name, number in largest],
        "hours_of_others": _hours(counter.total - sum(number for _, number in largest)),
    }


def _describe_characters(counter: NameCounter) -> Count:
    largest = counter.largest(MOST_LISTED_CHARACTERS)
    listed = sum(number for _, number in largest)
    return {
        "distinct": counter.distinct,
        "is_exact": counter.is_exact,
        "total": counter.total,
        "counts": [{"character": name, "count": number} for name, number in largest],
        "count_of_others": counter.total - listed,
    }


def _hours(microseconds: int) -> float:
    return round(microseconds / (3600 * MICROSECONDS), 6)
