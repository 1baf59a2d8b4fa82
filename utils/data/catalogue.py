"""The index of all blocks: which items were kept, and why the others were not."""

import dataclasses
import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from utils.data.grouping import TEST, TRAIN, VALIDATION, Keys
from utils.data.leaks import text_key
from utils.data.quality.speech_rates import count_characters, rate_limits, rate_problem
from utils.data.split_names import SPLITS
from utils.data.splits import SplitResult, assign_splits
from utils.runtime.problems import Problem
from utils.text.normalizing import normalize_text

NUMBERS_FILE = "data_report.json"

REJECTS_FILE = "rejects.jsonl"

ARGUMENTS_FILE = "preprocess.yaml"


@dataclass(frozen=True)
class SplitSettings:
    """What decides the splits."""

    validation_share: float
    test_share: float
    seed: int
    as_original: bool = False
    rules: frozenset[str] = frozenset()  # of utils.quality


@dataclass
class Catalogue:
    """What is known of every clip in the blocks, in their order; numbers in place of names."""

    texts: array = field(default_factory=lambda: array("q"))  # text_key
    contents: array = field(default_factory=lambda: array("q"))  # hash of the samples
    durations: array = field(default_factory=lambda: array("f"))
    num_characters: array = field(default_factory=lambda: array("i"))
    languages: array = field(default_factory=lambda: array("h"))
    language_numbers: dict[str, int] = field(default_factory=dict)
    speakers: array = field(default_factory=lambda: array("q"))
    recordings: array = field(default_factory=lambda: array("q"))
    given: array = field(default_factory=lambda: array("b"))
    columns: dict[str, set[str]] = field(default_factory=dict)


def read_index(block: Path) -> dict:
    """The index of one block."""
    return json.loads(block.read_text(encoding="utf-8"))


def read_catalogue(blocks: Sequence[Path], seed: int) -> Catalogue:
    """Read the indexes of all blocks into compact arrays."""
    catalogue = Catalogue()
    numbers: dict[str, dict[str, int]] = {"speaker": {}, "recording": {}}
    for block in blocks:
        index = read_index(block)
        for entry in index["kept"]:
            # Whisper's own normaliser would make one text of मेरा and मेरी
            key = normalize_text(entry["text"], "script-safe") or entry["text"]
            catalogue.texts.append(text_key(key, seed))
            catalogue.contents.append(int(entry["content"][:16], 16) >> 1)
            catalogue.durations.append(entry["duration"])
            catalogue.num_characters.append(count_characters(entry["text"]))
            catalogue.languages.append(_number(catalogue.language_numbers, entry["language"]))
            catalogue.speakers.append(_number(numbers["speaker"], entry["speaker"]))
            catalogue.recordings.append(_number(numbers["recording"], entry["recording"]))
            catalogue.given.append(-1 if entry["split"] is None else SPLITS.index(entry["split"]))
            for column, kind in entry["columns"].items():
                catalogue.columns.setdefault(column, set()).add(kind)
    return catalogue


def _number(known: dict[str, int], name: str | None) -> int:
    return -1 if name is None else known.setdefault(name, len(known))


def decide(
    catalogue: Catalogue, blocks: Sequence[Path], settings: SplitSettings
) -> tuple[dict[int, Problem], SplitResult]:
    """Which clips are left out after all, and why; and the split of every clip."""
    late = _screened(blocks)
    if "speech_rate" in settings.rules:
        late |= _unlikely_rates(catalogue, blocks)
    if "duplicate" in settings.rules and not settings.as_original:
        late = _duplicates(catalogue, late) | late
    keys = Keys(
        *(np.asarray(values) for values in (catalogue.speakers, catalogue.recordings, catalogue.texts))
    )
    there = np.setdiff1d(np.arange(len(catalogue.texts)), np.fromiter(late, np.int64, len(late)))
    result = assign_splits(
        Keys(keys.speaker[there], keys.recording[there], keys.text[there]),
        np.asarray(catalogue.given, dtype=np.int8)[there],
        validation_share=settings.validation_share,
        test_share=settings.test_share,
        as_original=settings.as_original,
    )
    late |= {int(there[index]): reason for index, reason in result.leaks.items()}
    splits = np.full(len(catalogue.texts), TRAIN, dtype=np.int8)
    splits[there] = result.splits
    return late, dataclasses.replace(result, splits=splits)


def _screened(blocks: Sequence[Path]) -> dict[int, Problem]:
    """What a model found wrong (utils.screening); its findings stand beside the blocks."""
    late: dict[int, Problem] = {}
    first = 0
    for block in blocks:
        found = block.with_suffix(".screened")
        if found.is_file():
            late |= {first + int(row): Problem(*told) for row, told in read_index(found)["problems"].items()}
        first += len(read_index(block)["kept"])
    return late


def _unlikely_rates(catalogue: Catalogue, blocks: Sequence[Path]) -> dict[int, Problem]:
    """Clips in which far more or less is written than can be said in their time, each language on its own."""
    characters, seconds = np.asarray(catalogue.num_characters), np.asarray(catalogue.durations)
    languages = np.asarray(catalogue.languages)
    limits = {
        number: rate_limits(characters[languages == number], seconds[languages == number])
        for number in np.unique(languages).tolist()
    }
    late, number = {}, 0
    for block in blocks:
        for entry in read_index(block)["kept"]:
            problem = rate_problem(entry["text"], entry["duration"], limits[catalogue.languages[number]])
            if problem:
                late[number] = problem
            number += 1
    return late


def _duplicates(catalogue: Catalogue, late: Mapping[int, Problem]) -> dict[int, Problem]:
    """Clips with the very samples of another; the one of the later split stays, or the first."""
    contents, given = np.asarray(catalogue.contents), np.asarray(catalogue.given)
    there = np.setdiff1d(np.arange(len(contents)), np.fromiter(late, np.int64, len(late)))
    rank = np.where(given[there] == TEST, 0, np.where(given[there] == VALIDATION, 1, 2))
    order = there[np.lexsort((there, rank, contents[there]))]
    same = np.flatnonzero(contents[order][1:] == contents[order][:-1]) + 1
    return {int(order[place]): Problem("duplicate", "the same samples as another clip") for place in same}
