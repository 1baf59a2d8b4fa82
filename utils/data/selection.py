"""Which clips stay, and in which split, once all are known: screening, speech rates, duplicates, leaks."""

import dataclasses
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from utils.data.clips.block_files import KeptClip, read_findings, read_index
from utils.data.grouping import TEST, TRAIN, VALIDATION, Keys, text_key
from utils.data.quality.speech_rates import count_characters, rate_limits, rate_problem, spoken_characters
from utils.data.split_names import SPLITS
from utils.data.splits import SplitResult, assign_splits
from utils.runtime.problems import Problem
from utils.text.normalizing import normalize_text


@dataclass(frozen=True)
class SplitSettings:
    """What decides the splits."""

    validation_share: float
    test_share: float
    seed: int
    as_original: bool = False
    rules: frozenset[str] = frozenset()  # of utils.quality


def _numbers(code: str) -> Callable[[], array]:
    return lambda: array(code)


@dataclass
class ClipFacts:
    """What is known of every clip in the blocks, in their order; numbers in place of names."""

    texts: array = field(default_factory=_numbers("q"))  # text_key
    contents: array = field(default_factory=_numbers("q"))  # hash of the samples
    durations: array = field(default_factory=_numbers("f"))
    num_characters: array = field(default_factory=_numbers("i"))
    spoken: array = field(default_factory=_numbers("i"))  # the same with digits as words
    languages: array = field(default_factory=_numbers("h"))
    speakers: array = field(default_factory=_numbers("q"))
    recordings: array = field(default_factory=_numbers("q"))
    given: array = field(default_factory=_numbers("b"))
    columns: dict[str, set[str]] = field(default_factory=dict)
    screened: dict[int, Problem] = field(default_factory=dict)
    """What a model found wrong, by the clip's number."""

    def add(self, clip: KeptClip, names: dict[str, dict[str, int]], seed: int) -> None:
        # Whisper's own normaliser would make one text of मेरा and मेरी
        key = normalize_text(clip.text, "script-safe") or clip.text
        self.texts.append(text_key(key, seed))
        self.contents.append(int(clip.content[:16], 16) >> 1)
        self.durations.append(clip.duration)
        self.num_characters.append(count_characters(clip.text))
        self.spoken.append(spoken_characters(clip.text))
        self.languages.append(_number(names["language"], clip.language))
        self.speakers.append(_number(names["speaker"], clip.speaker))
        self.recordings.append(_number(names["recording"], clip.recording))
        self.given.append(-1 if clip.split is None else SPLITS.index(clip.split))
        for column, kind in clip.columns.items():
            self.columns.setdefault(column, set()).add(kind)

    def keys(self) -> Keys:
        return Keys(*(np.asarray(values) for values in (self.speakers, self.recordings, self.texts)))


def _number(known: dict[str, int], name: str | None) -> int:
    return -1 if name is None else known.setdefault(name, len(known))


def read_facts(blocks: Sequence[Path], seed: int) -> ClipFacts:
    """Read the indexes of all blocks, and what a model found where it heard them, into compact arrays."""
    facts = ClipFacts()
    names: dict[str, dict[str, int]] = {"language": {}, "speaker": {}, "recording": {}}
    for block in blocks:
        first = len(facts.texts)
        facts.screened |= {first + place: problem for place, problem in read_findings(block).items()}
        for clip in read_index(block).kept:
            facts.add(clip, names, seed)
    return facts


def select_clips(facts: ClipFacts, settings: SplitSettings) -> tuple[dict[int, Problem], SplitResult]:
    """Which clips are left out after all, and why; and the split of every clip."""
    late = dict(facts.screened)
    if "speech_rate" in settings.rules:
        late |= _unlikely_rates(facts)
    if "duplicate" in settings.rules and not settings.as_original:
        late = _duplicates(facts, late) | late
    there = _others(len(facts.texts), late)
    result = assign_splits(
        facts.keys().of(there),
        np.asarray(facts.given, dtype=np.int8)[there],
        validation_share=settings.validation_share,
        test_share=settings.test_share,
        as_original=settings.as_original,
    )
    late |= {int(there[index]): reason for index, reason in result.leaks.items()}
    splits = np.full(len(facts.texts), TRAIN, dtype=np.int8)
    splits[there] = result.splits
    return late, dataclasses.replace(result, splits=splits)


def _others(count: int, late: Mapping[int, Problem]) -> np.ndarray:
    return np.setdiff1d(np.arange(count), np.fromiter(late, np.int64, len(late)))


def _unlikely_rates(facts: ClipFacts) -> dict[int, Problem]:
    """Clips in which far more or less is written than can be said in their time, each language on its own."""
    characters, seconds = np.asarray(facts.num_characters), np.asarray(facts.durations)
    languages = np.asarray(facts.languages)
    limits = {
        number: rate_limits(characters[languages == number], seconds[languages == number])
        for number in np.unique(languages).tolist()
    }
    rows = zip(facts.num_characters, facts.spoken, facts.durations, facts.languages, strict=True)
    problems = (rate_problem(count, spoken, seconds, limits[code]) for count, spoken, seconds, code in rows)
    return {number: problem for number, problem in enumerate(problems) if problem}


def _duplicates(facts: ClipFacts, late: Mapping[int, Problem]) -> dict[int, Problem]:
    """Clips with the very samples of another; the one of the later split stays, or the first."""
    contents, given = np.asarray(facts.contents), np.asarray(facts.given)
    there = _others(len(contents), late)
    rank = np.where(given[there] == TEST, 0, np.where(given[there] == VALIDATION, 1, 2))
    order = there[np.lexsort((there, rank, contents[there]))]
    same = np.flatnonzero(contents[order][1:] == contents[order][:-1]) + 1
    return {int(order[place]): Problem("duplicate", "the same samples as another clip") for place in same}
