"""Counts in memory that does not grow: names, histograms."""

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from utils.data.data_report import Distribution

MICROSECONDS = 1_000_000  # seconds are added up as whole microseconds, which no order of adding changes

MOST_NAMES = 20_000  # of speakers, groups or languages of a split that are counted one by one

LONGEST_NAME = 120  # characters


class NameCounter:
    """Adds up whole numbers by name; exact up to `limit` names, a sample and an estimate beyond.

    Kept are the names with the smallest hashes (a bottom-k sketch: Bar-Yossef et al., Counting distinct
    elements in a data stream, 2002). A name that belongs to them at the end has belonged to them all along,
    so its number is exact, and the order makes no difference.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._numbers: Counter[str] = Counter()
        self._total = 0
        self._bound: int | None = None  # smallest hash of those left out

    def add(self, numbers: Mapping[str, int]) -> None:
        """Add to the number of each name."""
        for name, number in numbers.items():
            self._total += number
            if self._bound is None or _hash(name) < self._bound:
                self._numbers[name] += number
        if len(self._numbers) > 2 * self._limit:  # not at every name, for speed
            self._leave_out()

    def _leave_out(self) -> None:
        if len(self._numbers) <= self._limit:
            return
        hashes = {name: _hash(name) for name in self._numbers}
        order = sorted(hashes, key=hashes.__getitem__)
        for name in order[self._limit :]:
            del self._numbers[name]
        bound = hashes[order[self._limit]]
        self._bound = bound if self._bound is None else min(bound, self._bound)

    @property
    def total(self) -> int:
        """Sum over all names, also those left out."""
        return self._total

    @property
    def is_exact(self) -> bool:
        self._leave_out()
        return self._bound is None

    @property
    def distinct(self) -> int:
        """How many names there are, estimated where they are more than the limit."""
        if self.is_exact:
            return len(self._numbers)
        assert self._bound is not None
        return round(self._limit * 2**64 / self._bound)

    def largest(self, most: int) -> list[tuple[str, int]]:
        """At most so many (name, number), the largest number first, among equals by name."""
        self._leave_out()
        return sorted(self._numbers.items(), key=lambda item: (-item[1], item[0]))[:most]


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=8).digest())


def bounded_name(name: str) -> str:
    """The name; a very long one as its beginning and a hash, so that it takes little room."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 20]}… {_hash(name):016x}"


class Histogram:
    """Counts between fixed edges; the last bin holds its upper edge too, as numpy's does."""

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = tuple(edges)
        self.counts = [0] * (len(self.edges) - 1)
        self.above = 0

    def add(self, value: float) -> None:
        """Count a value that is not below the first edge."""
        if value > self.edges[-1]:
            self.above += 1
        else:
            self.counts[min(bisect_right(self.edges, value), len(self.counts)) - 1] += 1

    @property
    def total(self) -> int:
        return sum(self.counts) + self.above

    def quantiles(self, shares: Sequence[float]) -> list[float]:
        """Values below which those shares of what was counted lie, spread evenly within a bin.

        What is above the last edge counts as that.
        """
        reached = np.concatenate([[0], np.cumsum(self.counts)])
        places = np.asarray(shares) * self.total
        # from the right of the empty bins before the one that holds the place
        bins = np.clip(np.searchsorted(reached, places, side="left"), 1, len(self.counts))
        low, high = reached[bins - 1], reached[bins]
        part = np.clip((places - low) / np.maximum(high - low, 1), 0.0, 1.0)
        edges = np.asarray(self.edges, dtype=float)
        values = edges[bins - 1] + part * (edges[bins] - edges[bins - 1])
        return np.where(places > reached[-1], edges[-1], values).tolist()

    def coarser(self, bins: int) -> "Histogram":
        """The same counts with so many neighbouring bins made one."""
        result = Histogram(self.edges[::bins])
        result.counts = [sum(self.counts[start : start + bins]) for start in range(0, len(self.counts), bins)]
        result.above = self.above
        return result

    def describe(self, unit: str, shown_bins: int = 1) -> Distribution:
        """Edges and counts, so many bins made one, and three quantiles, None where nothing was counted."""
        shown = self.coarser(shown_bins)
        quantiles = map(rounded, self.quantiles((0.05, 0.5, 0.95))) if self.total else (None, None, None)
        return Distribution(unit, list(shown.edges), shown.counts, shown.above, *quantiles)


def rounded(value: float) -> float:
    return round(float(value), 4)
