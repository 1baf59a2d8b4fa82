"""Statistics of a dataset, counted one utterance at a time.

Only names, characters and a few numbers of each clip are kept in memory. Sums are of whole numbers, so they
do not depend on the order of the utterances.
"""

import hashlib
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from utils.data.data_report import (
    CharacterCount,
    Characters,
    Distribution,
    DynamicContext,
    NamedHours,
    Names,
    Silence,
    Speakers,
    SplitNames,
    Statistics,
)
from utils.data.speed_up import CHARACTERS_PER_TOKEN, MOST_PLANNED_CLIPS, estimate_speed_up
from utils.data.split_names import SPLITS
from utils.model.context import FULL_CONTEXT
from utils.model.silence import SILENCE_RUN
from utils.text.label_tokens import MAX_LABEL_TOKENS

MICROSECONDS = 1_000_000  # seconds are summed as whole microseconds: the order does not change the sum

LONGEST_NAME = 120  # characters

DURATION_EDGES = tuple(step / 10 for step in range(301))  # seconds; fine, because contexts depend on it

TOKEN_EDGES = tuple(range(0, MAX_LABEL_TOKENS + 1, 4))

RATE_EDGES = tuple(range(0, 41))  # characters a second

SHOWN_DURATION_BINS = 5  # fine bins in one bin of the report: 0.5 s

MOST_LISTED_CHARACTERS = 400

MOST_LISTED_NAMES = 20


def quantiles(values: Sequence[float], edges: Sequence[float], shares: Sequence[float]) -> list[float]:
    """Compute the quantiles of a histogram with at least one value.

    Each of the `shares` of the values lies below one quantile. Values are assumed to be spread evenly within
    each bin. A value above the last edge counts as the last edge.
    """
    reached = np.concatenate([[0], np.cumsum(np.histogram(values, edges)[0])])
    places = np.asarray(shares) * len(values)
    # skip the empty bins before the bin that holds the place
    bins = np.clip(np.searchsorted(reached, places, side="left"), 1, len(edges) - 1)
    low, high = reached[bins - 1], reached[bins]
    part = np.clip((places - low) / np.maximum(high - low, 1), 0.0, 1.0)
    borders = np.asarray(edges, dtype=float)
    found = borders[bins - 1] + part * (borders[bins] - borders[bins - 1])
    return np.where(places > reached[-1], borders[-1], found).tolist()


def describe_values(
    values: Sequence[float], edges: Sequence[float], unit: str, shown_bins: int = 1
) -> Distribution:
    """Return the histogram and the quantiles.

    `shown_bins` bins are joined to one. If there are no values, the quantiles are None.
    """
    shown, above = edges[::shown_bins], int(np.sum(np.asarray(values) > edges[-1]))
    middle = map(rounded, quantiles(values, edges, (0.05, 0.5, 0.95))) if len(values) else (None, None, None)
    return Distribution(unit, list(shown), np.histogram(values, shown)[0].tolist(), above, *middle)


@dataclass
class ClipCounts:
    """The contents of one split or of the whole dataset so far.

    The durations of names are in microseconds.
    """

    clips: int = 0
    microseconds: int = 0
    without_speaker: int = 0  # clips
    speakers: Counter[str] = field(default_factory=Counter)
    groups: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    durations: array = field(default_factory=lambda: array("d"))

    def add(self, duration: float, language: str | None, speaker: str | None, group: str | None) -> None:
        microseconds = round(duration * MICROSECONDS)
        self.clips += 1
        self.microseconds += microseconds
        self.without_speaker += speaker is None
        self.durations.append(duration)
        named = ((self.speakers, speaker), (self.groups, group), (self.languages, language))
        for counter, name in named:
            if name is not None:
                counter[_bounded(name)] += microseconds

    def describe(self) -> SplitNames:
        hours = _hours(self.microseconds)
        return SplitNames(self.clips, hours, len(self.speakers), len(self.groups))


class StatisticsCounter:
    """Count the kept utterances of a dataset."""

    def __init__(self) -> None:
        self._whole, self._splits = ClipCounts(), dict[str, ClipCounts]()
        self._tokens, self._rates = array("i"), array("d")
        self._characters = Counter[str]()

    def add(
        self,
        *,
        text: str,
        duration: float,
        split: str,
        num_tokens: int | None = None,
        language: str | None = None,
        speaker: str | None = None,
        group: str | None = None,
    ) -> None:
        """Count one kept utterance.

        Args:
            text: As stored in the dataset.
            duration: Seconds of the clip, above 0.
            split: `train`, `validation` or `test`.
            num_tokens: Number of tokens of the label, if they were counted.
            language: Whisper's code, if known.
            speaker: If known.
            group: If known.
        """
        for counts in (self._whole, self._splits.setdefault(split, ClipCounts())):
            counts.add(duration, language, speaker, group)
        self._characters.update(text)
        self._rates.append(len(text) / duration)
        if num_tokens is not None:
            self._tokens.append(num_tokens)

    def describe(self) -> Statistics:
        """Return the statistics of at least one utterance."""
        whole = self._whole
        speakers = _describe_names(whole.speakers)
        return Statistics(
            splits={name: self._splits[name].describe() for name in SPLITS if name in self._splits},
            clips=whole.clips,
            hours=_hours(whole.microseconds),
            speakers=Speakers(**vars(speakers), clips_without=whole.without_speaker),
            groups=_describe_names(whole.groups),
            languages=_describe_names(whole.languages),
            duration=describe_values(whole.durations, DURATION_EDGES, "seconds", SHOWN_DURATION_BINS),
            label_tokens=describe_values(self._tokens, TOKEN_EDGES, "tokens"),
            speech_rate=describe_values(self._rates, RATE_EDGES, "characters per second"),
            characters=_describe_characters(self._characters),
            silence=Silence(rounded(1 - whole.microseconds / (whole.clips * FULL_CONTEXT * MICROSECONDS))),
            dynamic_context=self._estimate_dynamic_context(),
        )

    def _estimate_dynamic_context(self) -> DynamicContext:
        """Estimate the saving for the clips of train. If there is no train split, use all clips."""
        counts = self._splits.get("train", self._whole)
        num_clips = min(counts.clips, MOST_PLANNED_CLIPS)
        shares = [(index + 0.5) / num_clips for index in range(num_clips)]
        durations = quantiles(counts.durations, DURATION_EDGES, shares)
        if self._tokens:
            mean_tokens = sum(self._tokens) / len(self._tokens)
        else:
            mean_tokens = self._characters.total() / self._whole.clips / CHARACTERS_PER_TOKEN
        return estimate_speed_up(durations, mean_tokens, silence_run=SILENCE_RUN)


def _bounded(name: str) -> str:
    """Return the name. To save memory, a very long name is cut, and a hash is added."""
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=8).hexdigest()
    return f"{name[: LONGEST_NAME - 20]}… {digest}"


def _largest(counter: Counter[str], most: int) -> list[tuple[str, int]]:
    """Return at most `most` pairs (name, number).

    The largest number is first. Pairs with equal numbers are sorted by name.
    """
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:most]


def _describe_names(counter: Counter[str]) -> Names:
    largest = _largest(counter, MOST_LISTED_NAMES)
    return Names(
        distinct=len(counter),
        largest=[NamedHours(name, _hours(number)) for name, number in largest],
        hours_of_others=_hours(counter.total() - sum(number for _, number in largest)),
    )


def _describe_characters(counter: Counter[str]) -> Characters:
    largest = _largest(counter, MOST_LISTED_CHARACTERS)
    return Characters(
        distinct=len(counter),
        total=counter.total(),
        counts=[CharacterCount(name, number) for name, number in largest],
        count_of_others=counter.total() - sum(number for _, number in largest),
    )


def _hours(microseconds: int) -> float:
    return round(microseconds / (3600 * MICROSECONDS), 6)


def rounded(value: float) -> float:
    return round(float(value), 4)
