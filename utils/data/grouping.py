"""Assigns clips to splits at random, and finds leaks between splits.

Clips that must stay together form a group.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from utils.data.split_names import SPLITS
from utils.runtime.problems import Problem

TRAIN, VALIDATION, TEST = range(3)

LEVELS = ("speaker", "recording", "text")
"""What the splits may separate.

The strictest level is first. Each level also separates the levels after it.
"""

FAIR_SHARE = (0.5, 2.0)  # a level is used if the size of each split is between these factors of its share


MOST_LOST = 0.2  # of a split, left out because of leaks; if it is more, the leak stays and a note reports it

# If both splits have the same value, the utterance is left out of the first split.
_LOSER_AND_KEEPER = ((VALIDATION, TEST), (TRAIN, TEST), (TRAIN, VALIDATION))


@dataclass(frozen=True)
class Keys:
    """The speaker, recording and text of each utterance as numbers.

    Equal numbers mean the same value, -1 an unknown one. The numbers of texts also set the order in which
    groups are drawn (`text_key`).
    """

    speaker: np.ndarray  # (utterances,) int64
    recording: np.ndarray
    text: np.ndarray

    def of(self, chosen: np.ndarray) -> "Keys":
        """Return the keys of some utterances, by indices or a mask."""
        return Keys(self.speaker[chosen], self.recording[chosen], self.text[chosen])


def is_fair(assigned: np.ndarray, lacking: Mapping[int, float]) -> bool:
    low, high = FAIR_SHARE
    return all(
        low * share * len(assigned) <= (assigned == split).sum() <= max(1, high * share * len(assigned))
        for split, share in lacking.items()
    )


def join_groups(ties: Sequence[np.ndarray]) -> np.ndarray:
    """Number the groups of utterances.

    Two utterances are in one group if `ties` connects them, directly or through others.

    Args:
        ties: Arrays (utterances,) of equal length. Equal values connect utterances; -1 connects nothing.

    Returns:
        (utterances,) int64. For each utterance, it has the index of the first utterance in the same group.
    """
    if len(ties) == 1:  # no chains: numpy does it at once, without an object for each utterance
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
    """Move groups to the missing splits until each split has its share. Train keeps at least one group.

    Groups are drawn in the order of the smallest text key in each. So the result depends neither on the order
    of the utterances nor on the version of numpy.
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
        # reserve one group for train and for each empty split
        if split is not None and len(numbers) - num_taken - 1 >= 1 + still_empty:
            target[group] = split
            num_taken += 1
            filled[split] += size
    for split in (s for s in room if not filled[s]):  # groups are larger than its share, or scarce
        free = [group for group in order if target[group] == TRAIN]
        if len(free) > 1:
            target[min(free, key=lambda group: sizes[group])] = split
    return target[members]


def text_key(normalized_text: str, seed: int) -> int:
    """Return a number, 0 or above, that stands for a text.

    The order of these numbers depends only on the seed.
    """
    digest = hashlib.sha256(f"{seed}\0{normalized_text}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


def count_shared(keys: Keys, splits: np.ndarray) -> dict[str, int]:
    """Count the speakers, recordings and texts that are in more than one split."""
    counts = {}
    for level in LEVELS:
        values = getattr(keys, level)
        # each split by itself: pairs of all splits would need several times the memory
        known = [np.unique(values[(splits == split) & (values >= 0)]) for split in np.unique(splits).tolist()]
        in_splits = np.unique(np.concatenate(known), return_counts=True)[1] if known else np.zeros(0)
        counts[level] = int((in_splits > 1).sum())
    return counts


def find_leaks(keys: Keys, splits: np.ndarray) -> tuple[dict[int, Problem], list[str]]:
    """Find the leaks to leave out of train and validation.

    Return notes on leaks that are too large to leave out.
    """
    leaks: dict[int, Problem] = {}
    notes = []
    for level in LEVELS:
        for loser, keeper in _LOSER_AND_KEEPER:
            found = _shared_with(getattr(keys, level), splits, loser, keeper)
            if len(found) > MOST_LOST * (splits == loser).sum():
                notes.append(
                    f"{len(found)} utterances of {SPLITS[loser]} have a {level} that is also in "
                    f"{SPLITS[keeper]}. These are too many to leave out, so they are kept: error rates will "
                    "look better than they are."
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
    """Move groups of the `free` utterances to the missing splits.

    Use the strictest level at which each split gets about its share. Sentences that many speakers read may
    connect all utterances to one group. Then the groups do not depend on the text. Utterances of train and
    validation are left out if their text is in a later split, but only if they are few.

    Returns:
        The level, and the utterances to leave out with the reason. The level is None if there is nothing to
        divide.
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
