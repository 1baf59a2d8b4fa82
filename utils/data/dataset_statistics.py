"""What a dataset holds, counted one utterance at a time in memory that does not grow with it.

Everything is counted in whole numbers, so that the order makes no difference. Names, of which there may be
very many, are counted by a sketch that keeps this (`NameCounter`).
"""

from collections import Counter
from dataclasses import dataclass, field

from utils.data.bounded_counts import MICROSECONDS, MOST_NAMES, Histogram, NameCounter, bounded_name, rounded
from utils.data.data_report import (
    CharacterCount,
    Characters,
    DynamicContext,
    NamedHours,
    Names,
    Silence,
    Speakers,
    SplitNames,
    Statistics,
)
from utils.data.speed_up import BATCH_SIZE, CHARACTERS_PER_TOKEN, MOST_PLANNED_CLIPS, estimate_speed_up
from utils.data.split_names import SPLITS
from utils.model.context import FULL_CONTEXT
from utils.model.silence import SILENCE_RUN
from utils.text.label_tokens import MAX_LABEL_TOKENS

DURATION_EDGES = tuple(step / 10 for step in range(301))  # seconds; fine, because contexts follow from it

TOKEN_EDGES = tuple(range(0, MAX_LABEL_TOKENS + 1, 4))

RATE_EDGES = tuple(range(0, 41))  # characters a second

SHOWN_DURATION_BINS = 5  # of the fine histogram that make one bin of the report: 0.5 s

MOST_CHARACTERS = 20_000  # distinct ones counted one by one: more than any script in use has

MOST_LISTED_CHARACTERS = 400

MOST_LISTED_NAMES = 20


@dataclass
class ClipCounts:
    """What a split, or the whole, holds so far. Names are counted with their microseconds."""

    clips: int = 0
    microseconds: int = 0
    without_speaker: int = 0  # clips
    speakers: NameCounter = field(default_factory=lambda: NameCounter(MOST_NAMES))
    groups: NameCounter = field(default_factory=lambda: NameCounter(MOST_NAMES))
    languages: NameCounter = field(default_factory=lambda: NameCounter(MOST_NAMES))
    durations: Histogram = field(default_factory=lambda: Histogram(DURATION_EDGES))

    def add(self, duration: float, language: str | None, speaker: str | None, group: str | None) -> None:
        microseconds = round(duration * MICROSECONDS)
        self.clips += 1
        self.microseconds += microseconds
        self.without_speaker += speaker is None
        self.durations.add(duration)
        named = ((self.speakers, speaker), (self.groups, group), (self.languages, language))
        for counter, name in named:
            if name is not None:
                counter.add({bounded_name(name): microseconds})

    def describe(self) -> SplitNames:
        hours = _hours(self.microseconds)
        return SplitNames(self.clips, hours, self.speakers.distinct, self.groups.distinct)


class StatisticsCounter:
    """Counts the kept utterances of a dataset."""

    def __init__(self) -> None:
        self._whole, self._splits = ClipCounts(), dict[str, ClipCounts]()
        self._tokens = Histogram(TOKEN_EDGES)
        self._num_tokens = 0
        self._rates = Histogram(RATE_EDGES)
        self._characters = NameCounter(MOST_CHARACTERS)

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
            text: As it is stored.
            duration: Seconds of the clip, above 0.
            split: `train`, `validation` or `test`.
            num_tokens: Of the label, where they were counted.
            language: Whisper's code, where known.
            speaker: Where known.
            group: Where known.
        """
        for counts in (self._whole, self._splits.setdefault(split, ClipCounts())):
            counts.add(duration, language, speaker, group)
        self._characters.add(Counter(text))
        self._rates.add(len(text) / duration)
        if num_tokens is not None:
            self._tokens.add(num_tokens)
            self._num_tokens += num_tokens

    def describe(self) -> Statistics:
        """The numbers of at least one utterance."""
        whole = self._whole
        speakers = _describe_names(whole.speakers)
        return Statistics(
            splits={name: self._splits[name].describe() for name in SPLITS if name in self._splits},
            clips=whole.clips,
            hours=_hours(whole.microseconds),
            speakers=Speakers(**vars(speakers), clips_without=whole.without_speaker),
            groups=_describe_names(whole.groups),
            languages=_describe_names(whole.languages),
            duration=whole.durations.describe("seconds", SHOWN_DURATION_BINS),
            label_tokens=self._tokens.describe("tokens"),
            speech_rate=self._rates.describe("characters per second"),
            characters=_describe_characters(self._characters),
            silence=Silence(rounded(1 - whole.microseconds / (whole.clips * FULL_CONTEXT * MICROSECONDS))),
            dynamic_context=self._estimate_dynamic_context(),
        )

    def _estimate_dynamic_context(self) -> DynamicContext:
        """For the clips of train, or all where there is no train."""
        counts = self._splits.get("train", self._whole)
        num_clips = min(counts.clips, MOST_PLANNED_CLIPS)
        durations = counts.durations.quantiles([(index + 0.5) / num_clips for index in range(num_clips)])
        if self._tokens.total:
            mean_tokens = self._num_tokens / self._tokens.total
        else:
            mean_tokens = self._characters.total / self._whole.clips / CHARACTERS_PER_TOKEN
        condensed = estimate_speed_up(durations, mean_tokens, silence_run=SILENCE_RUN)
        return DynamicContext(
            batch_size=BATCH_SIZE,
            silence_run=SILENCE_RUN,
            mean_label_tokens=rounded(mean_tokens),
            mean_context=rounded(condensed.mean_context),
            mean_seconds_of_work=rounded(condensed.mean_seconds_of_work),
            speed_up=rounded(condensed.speed_up),
        )


def _describe_names(counter: NameCounter) -> Names:
    largest = counter.largest(MOST_LISTED_NAMES)
    return Names(
        distinct=counter.distinct,
        is_exact=counter.is_exact,
        largest=[NamedHours(name, _hours(number)) for name, number in largest],
        hours_of_others=_hours(counter.total - sum(number for _, number in largest)),
    )


def _describe_characters(counter: NameCounter) -> Characters:
    largest = counter.largest(MOST_LISTED_CHARACTERS)
    return Characters(
        distinct=counter.distinct,
        is_exact=counter.is_exact,
        total=counter.total,
        counts=[CharacterCount(name, number) for name, number in largest],
        count_of_others=counter.total - sum(number for _, number in largest),
    )


def _hours(microseconds: int) -> float:
    return round(microseconds / (3600 * MICROSECONDS), 6)
