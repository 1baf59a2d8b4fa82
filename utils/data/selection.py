"""Which clips stay, and in which split, once all are known: screening, speech rates, duplicates, leaks.

No speaker, recording or sentence is in two splits. What belongs together is found with a union-find over the
speaker, the recording and the normalised text of each utterance; whole groups are then drawn for validation
and test. Everything works on compact arrays, so that millions of utterances fit in memory.
"""

import dataclasses
import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from utils.data.clips.block_files import KeptClip, read_findings, read_index
from utils.data.grouping import LEVELS, TEST, TRAIN, VALIDATION, Keys, cut_off, find_leaks, text_key
from utils.data.quality.speech_rates import count_characters, rate_limits, rate_problem, spoken_characters
from utils.data.split_names import SPLITS
from utils.data.utterance import Reject, Utterance
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


@dataclass(frozen=True)
class SplitResult:
    """Where each utterance goes."""

    splits: np.ndarray  # (utterances,) int8: TRAIN, VALIDATION or TEST
    leaks: dict[int, Problem]  # utterances to be left out, and why
    split_by: str | None  # the level at which splits were cut off; None where none had to be
    notes: tuple[str, ...] = ()


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
        for clip in read_index(block):
            if isinstance(clip, KeptClip):
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


def assign_splits(
    keys: Keys, given: np.ndarray, *, validation_share: float, test_share: float, as_original: bool = False
) -> SplitResult:
    """Keep the splits that are given, cut off those that are lacking, and find what leaks between them.

    Args:
        keys: What ties utterances together.
        given: (utterances,) int8, the split each already has, or -1, which counts as train.
        validation_share: Share of train that becomes validation where no utterance was given to it.
        test_share: The same for test.
        as_original: Leave out nothing that leaks between given splits.
    """
    splits = np.where(given < 0, TRAIN, given).astype(np.int8)
    leaks, notes = ({}, []) if as_original else find_leaks(keys, splits)
    shares = {TEST: test_share, VALIDATION: validation_share}
    lacking = {split: share for split, share in shares.items() if share > 0 and not (splits == split).any()}
    split_by = None
    if lacking:
        kept = np.ones(len(splits), dtype=bool)
        kept[list(leaks)] = False
        split_by, more_leaks = cut_off(keys, splits, np.flatnonzero(kept & (splits == TRAIN)), lacking)
        leaks |= more_leaks
        notes += _passed_over(keys, split_by)
    return SplitResult(splits, leaks, split_by, tuple(notes))


def draw_fraction(
    items: Iterable[Utterance | Reject], fraction: float, *, test_fraction: float, seed: int
) -> Iterator[Utterance | Reject]:
    """Pass on about a `fraction` of the utterances, the same ones each time; all rejects pass.

    Args:
        items: In any order; whether one is drawn depends on the seed and its id alone.
        fraction: Between 0 and 1, of utterances of train, validation and no split.
        test_fraction: The same for test.
        seed: Another seed draws others.
    """
    for item in items:
        if isinstance(item, Utterance):
            share = test_fraction if item.split == "test" else fraction
            draw = hashlib.sha256(f"{seed}\0fraction\0{item.id}".encode("utf-8", "backslashreplace")).digest()
            if int.from_bytes(draw[:8]) >= share * 2**64:
                continue
        yield item


def _passed_over(keys: Keys, split_by: str | None) -> list[str]:
    """Say so where speakers or recordings are known but too few or too tied up to be kept apart."""
    levels = LEVELS[: LEVELS.index(split_by)] if split_by else ()
    return [
        f"The {level}s are too few or too unequal to be kept apart: validation and test are cut by "
        f"{split_by}, and a {level} may be in several splits."
        for level in levels
        if (getattr(keys, level) >= 0).any()
    ]
