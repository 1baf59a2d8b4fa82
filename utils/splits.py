"""Subsets, and splits without leakage: no speaker, recording or sentence is in two of them.

What belongs together is found with a union-find over the speaker, the recording and the normalised text of
each utterance; whole groups are then drawn for validation and test. Everything works on compact arrays, so
that millions of utterances fit in memory.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from utils.utterances import SPLITS, Reject, Utterance

TRAIN, VALIDATION, TEST = range(3)
LEVELS = ("speaker", "recording", "text")
"""What is kept apart, the strictest first; each level keeps those behind it apart as well."""

FAIR_SHARE = (0.5, 2.0)  # a way to cut is taken if each split then has between so much of its share
MOST_LOST = 0.2  # of a split, left out to keep it apart from others; beyond that the leak is kept and told

# Where the same is in both, it is left out of the first.
_LOSER_AND_KEEPER = ((VALIDATION, TEST), (TRAIN, TEST), (TRAIN, VALIDATION))


@dataclass(frozen=True)
class Keys:
    """What ties utterances together: a number for each value, -1 where it is not known.

    The numbers of texts also decide the order in which groups are drawn (`text_key`).
    """

    speaker: np.ndarray  # (utterances,) int64
    recording: np.ndarray
    text: np.ndarray


@dataclass(frozen=True)
class SplitResult:
    """Where each utterance goes."""

    splits: np.ndarray  # (utterances,) int8: TRAIN, VALIDATION or TEST
    leaks: dict[int, str]  # utterances to be left out, and why
    split_by: str | None  # the level at which splits were cut off; None where none had to be
    notes: tuple[str, ...] = ()


def text_key(normalized_text: str, seed: int) -> int:
    """A number from 0 that stands for a text, in an order that depends on the seed alone."""
    digest = hashlib.sha256(f"{seed}\0{normalized_text}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


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
    leaks, notes = ({}, []) if as_original else _find_leaks(keys, splits)
    shares = {TEST: test_share, VALIDATION: validation_share}
    lacking = {split: share for split, share in shares.items() if share > 0 and not (splits == split).any()}
    split_by = None
    if lacking:
        kept = np.ones(len(splits), dtype=bool)
        kept[list(leaks)] = False
        split_by, more_leaks = _cut_off(keys, splits, np.flatnonzero(kept & (splits == TRAIN)), lacking)
        leaks |= more_leaks
        notes += _passed_over(keys, split_by)
    return SplitResult(splits, leaks, split_by, tuple(notes))


def count_shared(keys: Keys, splits: np.ndarray) -> dict[str, int]:
    """How many speakers, recordings and texts are in more than one split."""
    counts = {}
    for level in LEVELS:
        values = getattr(keys, level)
        # of each split by itself: pairs of all would take several times the memory
        known = [np.unique(values[(splits == split) & (values >= 0)]) for split in np.unique(splits).tolist()]
        in_splits = np.unique(np.concatenate(known), return_counts=True)[1] if known else np.zeros(0)
        counts[level] = int((in_splits > 1).sum())
    return counts


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


# ---- leaks -------------------------------------------------------------------------------------------------


def _find_leaks(keys: Keys, splits: np.ndarray) -> tuple[dict[int, str], list[str]]:
    """What is to be left out of train and validation, and notes of what is too much to leave out."""
    leaks: dict[int, str] = {}
    notes = []
    for level in LEVELS:
        for loser, keeper in _LOSER_AND_KEEPER:
            found = _shared_with(getattr(keys, level), splits, loser, keeper)
            if len(found) > MOST_LOST * (splits == loser).sum():
                notes.append(
                    f"{len(found)} utterances of {SPLITS[loser]} have a {level} that is also in "
                    f"{SPLITS[keeper]}: too many to leave out. Error rates will look better than they are."
                )
                continue
            for index in found.tolist():
                leaks.setdefault(index, f"leak: its {level} is also in {SPLITS[keeper]}")
    return leaks, notes


def _shared_with(values: np.ndarray, splits: np.ndarray, loser: int, keeper: int) -> np.ndarray:
    there = np.unique(values[(splits == keeper) & (values >= 0)])
    return np.flatnonzero((splits == loser) & np.isin(values, there))


# ---- splits that are lacking -------------------------------------------------------------------------------


def _cut_off(
    keys: Keys, splits: np.ndarray, free: np.ndarray, lacking: Mapping[int, float]
) -> tuple[str | None, dict[int, str]]:
    """Move whole groups of the `free` utterances to the lacking splits, in the strictest way that is fair.

    Sentences that many speakers read can tie everything together. Then groups are made without regard to the
    text, and what of train and validation has a sentence of a later split is left out, if that is little.

    Returns:
        The level, None where there is nothing to divide; and what is left out, with the reason.
    """
    known = [level for level in LEVELS if (getattr(keys, level)[free] >= 0).any()]
    for number, level in enumerate(known):
        for names in (known[number:], [name for name in known[number:] if name != "text"]):
            if not names:
                continue
            groups = join_groups([getattr(keys, name)[free] for name in names])
            assigned = _draw_groups(groups, keys.text[free], lacking)
            leaks = _leaks_by_text(keys.text[free], assigned)
            last = level == "text"
            if last or (_is_fair(assigned, lacking) and len(leaks) <= MOST_LOST * len(free)):
                splits[free] = assigned
                found = {int(free[index]): reason for index, reason in leaks.items()}
                return (level if assigned.any() else None), found
    return None, {}


def _leaks_by_text(texts: np.ndarray, assigned: np.ndarray) -> dict[int, str]:
    leaks: dict[int, str] = {}
    for loser, keeper in _LOSER_AND_KEEPER:
        for index in _shared_with(texts, assigned, loser, keeper).tolist():
            leaks.setdefault(index, f"leak: its text is also in {SPLITS[keeper]}")
    return leaks


def _is_fair(assigned: np.ndarray, lacking: Mapping[int, float]) -> bool:
    low, high = FAIR_SHARE
    return all(
        low * share * len(assigned) <= (assigned == split).sum() <= max(1, high * share * len(assigned))
        for split, share in lacking.items()
    )


def join_groups(ties: Sequence[np.ndarray]) -> np.ndarray:
    """Number the groups of utterances that are tied, directly or through others, by any of `ties`.

    Args:
        ties: Arrays (utterances,) of equal length; equal values tie, -1 ties nothing.

    Returns:
        (utterances,) int64: equal for utterances of one group, the index of its first utterance.
    """
    if len(ties) == 1:  # no chains: all at once, without an object for each utterance
        _, firsts, members = np.unique(ties[0], return_index=True, return_inverse=True)
        return np.where(ties[0] >= 0, firsts[members], np.arange(len(ties[0])))

    parent = list(range(len(ties[0])))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for values in ties:
        order = np.argsort(values, kind="stable")
        ordered = values[order]
        same = np.flatnonzero((ordered[1:] == ordered[:-1]) & (ordered[1:] >= 0))
        for one, other in zip(order[same].tolist(), order[same + 1].tolist(), strict=True):
            first, second = root(one), root(other)
            parent[max(first, second)] = min(first, second)
    return np.array([root(index) for index in range(len(parent))], dtype=np.int64)


def _draw_groups(groups: np.ndarray, texts: np.ndarray, lacking: Mapping[int, float]) -> np.ndarray:
    """Draw groups for the lacking splits until each has its share; train keeps at least one group.

    Groups are drawn in the order of the smallest text key in each, so that neither the order of the
    utterances nor a change of numpy's generators moves them.
    """
    numbers, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    names = np.full(len(numbers), np.iinfo(np.int64).max)
    np.minimum.at(names, members, texts)
    order = np.argsort(names, kind="stable").tolist()
    room = {split: max(1, round(share * len(groups))) for split, share in lacking.items()}
    filled, target, num_taken = dict.fromkeys(room, 0), np.full(len(numbers), TRAIN, dtype=np.int8), 0
    for group in order:
        size = int(sizes[group])
        split = next((s for s in room if filled[s] + size <= room[s]), None)
        still_empty = sum(1 for s in room if s != split and not filled[s])
        # one group stays for train and for each split that has none yet
        if split is not None and len(numbers) - num_taken - 1 >= 1 + still_empty:
            target[group] = split
            num_taken += 1
            filled[split] += size
    for split in (s for s in room if not filled[s]):  # what is left is larger than its share, or scarce
        free = [group for group in order if target[group] == TRAIN]
        if len(free) > 1:
            target[min(free, key=lambda group: sizes[group])] = split
    return target[members]


def _passed_over(keys: Keys, split_by: str | None) -> list[str]:
    """Say so where speakers or recordings are known but too few or too tied up to be kept apart."""
    levels = LEVELS[: LEVELS.index(split_by)] if split_by else ()
    return [
        f"The {level}s are too few or too unequal to be kept apart: validation and test are cut by "
        f"{split_by}, and a {level} may be in several splits."
        for level in levels
        if (getattr(keys, level) >= 0).any()
    ]
