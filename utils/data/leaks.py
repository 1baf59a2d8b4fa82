"""Clips that share a speaker, a recording or a sentence with another split."""

import hashlib
from collections.abc import Mapping

import numpy as np

from utils.data.grouping import LEVELS, TEST, TRAIN, VALIDATION, Keys, assign_groups, is_fair, join_groups
from utils.data.split_names import SPLITS
from utils.runtime.problems import Problem

MOST_LOST = 0.2  # of a split, left out to keep it apart from others; beyond that the leak is kept and told

# Where the same is in both, it is left out of the first.
_LOSER_AND_KEEPER = ((VALIDATION, TEST), (TRAIN, TEST), (TRAIN, VALIDATION))


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
