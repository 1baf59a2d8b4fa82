"""Subsets, and splits without leakage: no speaker, recording or sentence is in two of them.

What belongs together is found with a union-find over the speaker, the recording and the normalised text of
each utterance; whole groups are then drawn for validation and test. Everything works on compact arrays, so
that millions of utterances fit in memory.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from utils.data.grouping import LEVELS, TEST, TRAIN, VALIDATION, Keys, cut_off, find_leaks
from utils.data.utterance import Reject, Utterance
from utils.runtime.problems import Problem


@dataclass(frozen=True)
class SplitResult:
    """Where each utterance goes."""

    splits: np.ndarray  # (utterances,) int8: TRAIN, VALIDATION or TEST
    leaks: dict[int, Problem]  # utterances to be left out, and why
    split_by: str | None  # the level at which splits were cut off; None where none had to be
    notes: tuple[str, ...] = ()


def assign_splits(
    keys: Keys,
    given: np.ndarray,
    *,
    validation_share: float,
    test_share: float,
    as_original: bool = False,
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
