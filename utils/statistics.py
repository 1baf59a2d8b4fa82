"""What a dataset holds, counted one utterance at a time in memory that does not grow with it.

Everything is counted in whole numbers, so that the counts of parts, added up in any order, are those of the
whole. Names, of which there may be very many, are counted by a sketch that keeps this (`NameCounter`).
"""

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from utils.batching import FULL_CONTEXT, TRAINING_GRID, Example, StepSize, dynamic_context, order_batches
from utils.silence import POSITIONS_PER_SECOND, SILENCE_RUN, seconds_of_work
from utils.utterances import SPLITS

MICROSECONDS = 1_000_000  # seconds are added up as whole microseconds, which no order of adding changes

DURATION_EDGES = tuple(step / 10 for step in range(301))  # seconds; fine, because contexts follow from it
TOKEN_EDGES = tuple(range(0, 449, 4))  # 448 is the longest label
RATE_EDGES = tuple(range(0, 41))  # characters a second
SHOWN_DURATION_BINS = 5  # of the fine histogram that make one bin of the report: 0.5 s

MOST_NAMES = 20_000  # of speakers, groups or languages of a split that are counted one by one
MOST_CHARACTERS = 20_000  # distinct ones counted one by one: more than any script in use has
MOST_LISTED_CHARACTERS = 400
MOST_LISTED_NAMES = 20
LONGEST_NAME = 120  # characters

BATCH_SIZE = 8  # clips of a training step in the estimate, train.py's default
MOST_PLANNED_CLIPS = 4096  # an estimate needs no more
CHARACTERS_PER_TOKEN = 3.0  # assumed where tokens were not counted

# Shape of Whisper base, for the estimate of what a step costs (https://arxiv.org/abs/2212.04356, table 1).
LAYERS, WIDTH, MEL_BINS, VOCABULARY = 6, 512, 80, 51_865
FIXED_SHARE = 0.06
"""Part of a step on the full context that no shorter context saves: the optimiser, the data, the start of
each kernel. Read off 155 steps of 8 clips of Whisper base on two cores, where tight contexts made a step 6.7
times as fast (docs/lab_log.md)."""

Count = dict[str, object]


class NameCounter:
    """Adds up whole numbers by name; exact up to `limit` names, a sample and an estimate beyond.

    Kept are the names with the smallest hashes (a bottom-k sketch: Bar-Yossef et al., Counting distinct
    elements in a data stream, 2002). A name that belongs to them at the end has belonged to them all along,
    so its number is exact, and neither order nor a division into parts makes a difference.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._numbers: Counter[str] = Counter()
        self._total = 0
        self._bound: int | None = None  # smallest hash of those left out

    def add(self, numbers: Mapping[str, int]) -> None:
        """Add to the number of each name."""
        for name, number in numbers.items():
            self._total += number
            if self._bound is None or _hash(name) < self._bound:
                self._numbers[name] += number
        if len(self._numbers) > 2 * self._limit:  # not at every name, for speed
            self._leave_out()

    def merge(self, other: "NameCounter") -> None:
        """Add what another one of the same limit has counted."""
        self._numbers.update(other._numbers)
        self._total += other._total
        self._bound = min((b for b in (self._bound, other._bound) if b is not None), default=None)
        self._leave_out()

    def _leave_out(self) -> None:
        if len(self._numbers) <= self._limit:
            return
        hashes = {name: _hash(name) for name in self._numbers}
        order = sorted(hashes, key=hashes.__getitem__)
        for name in order[self._limit :]:
            del self._numbers[name]
        bound = hashes[order[self._limit]]
        self._bound = bound if self._bound is None else min(bound, self._bound)

    @property
    def total(self) -> int:
        """Sum over all names, also those left out."""
        return self._total

    @property
    def is_exact(self) -> bool:
        self._leave_out()
        return self._bound is None

    @property
    def distinct(self) -> int:
        """How many names there are, estimated where they are more than the limit."""
        if self.is_exact:
            return len(self._numbers)
        assert self._bound is not None
        return round(self._limit * 2**64 / self._bound)

    def largest(self, most: int) -> list[tuple[str, int]]:
        """At most so many (name, number), the largest number first, among equals by name."""
        self._leave_out()
        return sorted(self._numbers.items(), key=lambda item: (-item[1], item[0]))[:most]


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=8).digest())


def _shorten(name: str) -> str:
    """The name; a very long one as its beginning and a hash, so that it takes little room."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 20]}… {_hash(name):016x}"


class Histogram:
    """Counts between fixed edges; the last bin holds its upper edge too, as numpy's does."""

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = tuple(edges)
        self.counts = [0] * (len(self.edges) - 1)
        self.above = 0

    def add(self, value: float) -> None:
        """Count a value that is not below the first edge."""
        if value > self.edges[-1]:
            self.above += 1
        else:
            self.counts[min(bisect_right(self.edges, value), len(self.counts)) - 1] += 1

    def merge(self, other: "Histogram") -> None:
        """Add the counts of another one with the same edges."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.above += other.above

    @property
    def total(self) -> int:
        return sum(self.counts) + self.above

    def quantiles(self, shares: Sequence[float]) -> list[float]:
        """Values below which those shares lie, spread evenly within a bin; `above` counts as the last edge.

        Raises:
            ValueError: Nothing was counted.
        """
        if not self.total:
            raise ValueError("an empty histogram has no quantiles")
        reached = np.concatenate([[0], np.cumsum(self.counts)])
        places = np.asarray(shares) * self.total
        # from the right of the empty bins before the one that holds the place
        bins = np.clip(np.searchsorted(reached, places, side="left"), 1, len(self.counts))
        low, high = reached[bins - 1], reached[bins]
        part = np.clip((places - low) / np.maximum(high - low, 1), 0.0, 1.0)
        edges = np.asarray(self.edges, dtype=float)
        values = edges[bins - 1] + part * (edges[bins] - edges[bins - 1])
        return np.where(places > reached[-1], edges[-1], values).tolist()

    def coarser(self, bins: int) -> "Histogram":
        """The same counts with so many neighbouring bins made one."""
        result = Histogram(self.edges[::bins])
        result.counts = [sum(self.counts[start : start + bins]) for start in range(0, len(self.counts), bins)]
        result.above = self.above
        return result

    def as_dict(self, unit: str, shown_bins: int = 1) -> Count:
        """Edges and counts, so many bins made one, and three quantiles, None where nothing was counted."""
        shown = self.coarser(shown_bins)
        five, half, ninety_five = self.quantiles((0.05, 0.5, 0.95)) if self.total else [None] * 3
        return {
            "unit": unit,
            "edges": list(shown.edges),
            "counts": shown.counts,
            "above": self.above,
            "p5": _rounded(five),
            "median": _rounded(half),
            "p95": _rounded(ninety_five),
        }


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
                counter.add({_shorten(name): microseconds})
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
        return _sorted(report)

    def _describe_silence(self, whole: SplitCounts) -> Count:
        """Shares of the 30 s window; of the clips themselves only where speech was measured."""
        measured = self._with_speech
        window = FULL_CONTEXT * MICROSECONDS
        return {
            "share_of_window": _rounded(1 - whole.microseconds / (whole.clips * window))
            if whole.clips
            else None,
            "measured_clips": measured,
            "share_of_window_without_pauses": _rounded(1 - self._speech_microseconds / (measured * window))
            if measured
            else None,
            "share_of_clips": _rounded(1 - self._speech_microseconds / max(self._clip_microseconds, 1))
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
            "mean_label_tokens": _rounded(mean_tokens),
            "mean_context": _rounded(condensed.mean_context),
            "mean_seconds_of_work": _rounded(condensed.mean_seconds_of_work),
            "speed_up": _rounded(condensed.speed_up),
        }


# ---- what dynamic context saves ----------------------------------------------------------------------------


@dataclass(frozen=True)
class SpeedUp:
    """What an average step gets, and how many times as fast training is as on 30 s."""

    mean_context: float  # seconds of clips and tail
    mean_seconds_of_work: float  # with what stands for the silence, at 50 positions a second
    speed_up: float


def estimate_speed_up(durations: Sequence[float], mean_tokens: float, *, silence_run: int) -> SpeedUp:
    """Estimate what the dynamic context saves in training Whisper base, in batches of 8 clips.

    The batches are those that train.py's sampler makes of the clips in one epoch. A step's cost is
    `multiply_adds` for each clip, on the positions of the step, and a fixed part (`FIXED_SHARE`). Larger
    models and other machines differ; they save more where the fixed part is smaller.

    Args:
        durations: Seconds of clips, at least one; they stand for the whole training split.
        mean_tokens: Of a label.
        silence_run: Positions of silence that one stands for, see utils/silence.py.
    """
    examples = [Example((row,), seconds, 0) for row, seconds in enumerate(durations)]
    batches = order_batches(examples, StepSize(clips=BATCH_SIZE), np.random.default_rng(0))
    longest = [max(durations[index] for index in batch) for batch in batches]
    contexts = [dynamic_context(seconds, TRAINING_GRID) for seconds in longest]
    work = np.array([seconds_of_work(context, silence_run) for context in contexts])
    full = multiply_adds(np.array(FULL_CONTEXT), mean_tokens)
    fixed = FIXED_SHARE / (1 - FIXED_SHARE) * full
    speed_up = (fixed + full) / (fixed + multiply_adds(work, mean_tokens).mean())
    return SpeedUp(float(np.mean(contexts)), float(work.mean()), float(speed_up))


def multiply_adds(seconds: np.ndarray, tokens: float) -> np.ndarray:
    """Multiply-adds of Whisper base's forward pass for one clip.

    Per position the projections of attention (4 d²) and the two layers after it (8 d²); per pair of positions
    the scores and the weighted sum (2 d). The decoder also projects keys and values of each encoder position.
    The backward pass takes twice as many again, whatever the context, so that ratios do not need it.

    Args:
        seconds: That the encoder works on, any shape.
        tokens: Of the label.
    """
    positions = seconds * POSITIONS_PER_SECOND
    convolutions = 3 * WIDTH * (2 * MEL_BINS + WIDTH) * positions  # the first runs at twice the rate
    encoder = LAYERS * (12 * WIDTH**2 * positions + 2 * WIDTH * positions**2)
    cross_attention = LAYERS * (2 * WIDTH**2 * positions + 2 * WIDTH * positions * tokens)
    decoder = LAYERS * (14 * WIDTH**2 * tokens + 2 * WIDTH * tokens**2) + WIDTH * VOCABULARY * tokens
    return convolutions + encoder + cross_attention + decoder


# ---- plain values ------------------------------------------------------------------------------------------


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


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)


def _sorted(value):
    """The value with the keys of every dictionary in order."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
