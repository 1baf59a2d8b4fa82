"""Clips that must stay together, drawn as groups into splits, and what is in two splits all the same."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from utils.data.split_names import SPLITS
from utils.runtime.problems import Problem

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

    def of(self, chosen: np.ndarray) -> "Keys":
        """The same of some utterances, by their indices or a mask."""
        return Keys(self.speaker[chosen], self.recording[chosen], self.text[chosen])


def is_fair(assigned: np.ndarray, lacking: Mapping[int, float]) -> bool:
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


def assign_groups(groups: np.ndarray, texts: np.ndarray, lacking: Mapping[int, float]) -> np.ndarray:
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


def text_key(normalized_text: str, seed: int) -> int:
    """A number from 0 that stands for a text, in an order that depends on the seed alone."""
    digest = hashlib.sha256(f"{seed}\0{normalized_text}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


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


def find_leaks(keys: Keys, splits: np.ndarray) -> tuple[dict[int, Problem], list[str]]:
    """What is to be left out of train and validation, and notes of what is too much to leave out."""
    leaks: dict[int, Problem] = {}
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
                leaks.setdefault(index, Problem("leak", f"its {level} is also in {SPLITS[keeper]}"))
    return leaks, notes


def _shared_with(values: np.ndarray, splits: np.ndarray, loser: int, keeper: int) -> np.ndarray:
    there = np.unique(values[(splits == keeper) & (values >= 0)])
    return np.flatnonzero((splits == loser) & np.isin(values, there))


def cut_off(
    keys: Keys, splits: np.ndarray, free: np.ndarray, lacking: Mapping[int, float]
) -> tuple[str | None, dict[int, Problem]]:
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
            assigned = assign_groups(groups, keys.text[free], lacking)
            leaks = _leaks_by_text(keys.text[free], assigned)
            last = level == "text"
            if last or (is_fair(assigned, lacking) and len(leaks) <= MOST_LOST * len(free)):
                splits[free] = assigned
                found = {int(free[index]): reason for index, reason in leaks.items()}
                return (level if assigned.any() else None), found
    return None, {}


def _leaks_by_text(texts: np.ndarray, assigned: np.ndarray) -> dict[int, Problem]:
    leaks: dict[int, Problem] = {}
    for loser, keeper in _LOSER_AND_KEEPER:
        for index in _shared_with(texts, assigned, loser, keeper).tolist():
            leaks.setdefault(index, Problem("leak", f"its text is also in {SPLITS[keeper]}"))
    return leaks
