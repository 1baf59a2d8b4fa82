"""Decides which clips are kept, and in which split, by screening, speech rates, duplicates and leaks.

No speaker, recording or sentence is in two splits. Utterances with the same speaker, recording or normalised
text belong to one group, and a union-find algorithm finds these groups. Whole groups are then drawn for
validation and test. All data are small arrays, so that millions of utterances fit into memory.
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
    """Settings that decide the splits."""

    validation_share: float
    test_share: float
    seed: int
    as_original: bool = False
    rules: frozenset[str] = frozenset()  # names from utils.data.quality.rules


@dataclass(frozen=True)
class SplitResult:
    """The split of each utterance, and the leaks."""

    splits: np.ndarray  # (utterances,) int8: TRAIN, VALIDATION or TEST
    leaks: dict[int, Problem]  # utterances to leave out, with the reason
    split_by: str | None  # level at which we made splits; None if the source gave all
    notes: tuple[str, ...] = ()


def _numbers(code: str) -> Callable[[], array]:
    return lambda: array(code)


@dataclass
class ClipFacts:
    """Information about every clip in the blocks, in order. Names are replaced by numbers."""

    texts: array = field(default_factory=_numbers("q"))  # text_key
    contents: array = field(default_factory=_numbers("q"))  # hash of the samples
    durations: array = field(default_factory=_numbers("f"))
    num_characters: array = field(default_factory=_numbers("i"))
    spoken: array = field(default_factory=_numbers("i"))  # characters, with digits as words
    languages: array = field(default_factory=_numbers("h"))
    speakers: array = field(default_factory=_numbers("q"))
    recordings: array = field(default_factory=_numbers("q"))
    given: array = field(default_factory=_numbers("b"))
    columns: dict[str, set[str]] = field(default_factory=dict)
    screened: dict[int, Problem] = field(default_factory=dict)
    """The problems that a model found, by the number of the clip."""

    def add(self, clip: KeptClip, names: dict[str, dict[str, int]], seed: int) -> None:
        # Whisper's own normaliser would make मेरा and मेरी the same text
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
    """Read the indexes of all blocks into small arrays, and the problems that a model found, if there are
    any.
    """
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
    """Decide which clips are left out, with the reason, and the split of every clip."""
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
    """Find clips whose text is far too long or too short for their duration, separately for each language."""
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
    """Find clips with the same samples as another clip.

    If their splits differ, the clip of the later split stays. Otherwise the first clip stays.
    """
    contents, given = np.asarray(facts.contents), np.asarray(facts.given)
    there = _others(len(contents), late)
    rank = np.where(given[there] == TEST, 0, np.where(given[there] == VALIDATION, 1, 2))
    order = there[np.lexsort((there, rank, contents[there]))]
    same = np.flatnonzero(contents[order][1:] == contents[order][:-1]) + 1
    return {int(order[place]): Problem("duplicate", "the same samples as another clip") for place in same}


def assign_splits(
    keys: Keys, given: np.ndarray, *, validation_share: float, test_share: float, as_original: bool = False
) -> SplitResult:
    """Keep the splits that are given, make those that are missing, and find leaks between them.

    Args:
        keys: The speaker, recording and text of each utterance.
        given: (utterances,) int8, the split that the source gives. -1 counts as train.
        validation_share: Share of train that becomes validation if the source gives no validation.
        test_share: The same for test.
        as_original: Keep the leaks between given splits.
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
    """Yield about a `fraction` of the utterances, and all rejects. The choice is the same each time.

    Args:
        items: In any order. Only the seed and the id decide whether an utterance is drawn.
        fraction: Share from 0 to 1 of the utterances of train, of validation and of those without a split.
        test_fraction: The same for test.
        seed: Seed of the random choice.
    """
    for item in items:
        if isinstance(item, Utterance):
            share = test_fraction if item.split == "test" else fraction
            draw = hashlib.sha256(f"{seed}\0fraction\0{item.id}".encode("utf-8", "backslashreplace")).digest()
            if int.from_bytes(draw[:8]) >= share * 2**64:
                continue
        yield item


def _passed_over(keys: Keys, split_by: str | None) -> list[str]:
    """Return notes on speakers or recordings that are known, but cannot be kept in one split each."""
    levels = LEVELS[: LEVELS.index(split_by)] if split_by else ()
    return [
        f"The {level}s are too few or too unequal to be kept apart: validation and test are separated by "
        f"{split_by}, and a {level} may be in several splits."
        for level in levels
        if (getattr(keys, level) >= 0).any()
    ]
