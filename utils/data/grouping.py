"""Clips that must stay together, drawn as groups into splits of given shares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

TRAIN, VALIDATION, TEST = range(3)

LEVELS = ("speaker", "recording", "text")
"""What is kept apart, the strictest first; each level keeps those behind it apart as well."""

FAIR_SHARE = (0.5, 2.0)  # a way to cut is taken if each split then has between so much of its share


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
