"""Join neighbouring clips to longer ones, with their original pauses or with random ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.model.context import FULL_CONTEXT, TAIL
from utils.text.label_tokens import MAX_LABEL_TOKENS, LabelWriter
from utils.training.clip_rows import TrainingClip

LONGEST_PAUSE = 2.0  # seconds: the longest original pause that stitching keeps

DRAWN_PAUSES = (0.2, 1.0)  # seconds: range of random pauses

SHORTEST_STITCH = 10.0  # seconds: target lengths of joined clips are drawn from here up to 30 s


@dataclass(frozen=True)
class Stitcher:
    """Joins clips with the next clips in the dataset."""

    clips: Sequence[TrainingClip]
    datasets: Sequence[int]  # dataset number of each clip
    writer: LabelWriter  # counts the labels, which must fit into the decoder
    probability: float  # of joining a clip with the next ones

    def groups(
        self, rows: list[int], random: np.random.Generator
    ) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
        """Group rows into examples. Return each group with the starts of its rows in seconds."""
        if not self.probability:
            return [((row,), (0.0,)) for row in rows]
        groups: list[tuple[tuple[int, ...], tuple[float, ...]]] = []
        rest = rows[::-1]
        while rest:
            row = rest.pop()
            group, offsets, end = [row], [0.0], self.clips[row].duration
            target = random.uniform(SHORTEST_STITCH, FULL_CONTEXT - TAIL)
            is_stitched = random.random() < self.probability
            while is_stitched and rest:
                pause = self._pause(group[-1], rest[-1], random)
                if pause is None or not self._fits(group, rest[-1], end + pause, target):
                    break
                offsets.append(end + pause)
                end += pause + self.clips[rest[-1]].duration
                group.append(rest.pop())
            groups.append((tuple(group), tuple(offsets)))
        return groups

    def _pause(self, row: int, following: int, random: np.random.Generator) -> float | None:
        """Return the seconds of silence to put between two clips. None if they cannot be joined."""
        one, other = self.clips[row], self.clips[following]
        drawn = random.uniform(*DRAWN_PAUSES)
        is_near = self.datasets[row] == self.datasets[following] and one.neighbourhood == other.neighbourhood
        if not is_near or row == following:
            return None
        if one.end is not None and other.start is not None and 0 <= other.start - one.end <= LONGEST_PAUSE:
            return other.start - one.end
        return drawn

    def _fits(self, group: list[int], row: int, start: float, target: float) -> bool:
        pieces = [piece for member in [*group, row] for piece in self.clips[member].pieces]
        num_targets = self.writer.count_targets(pieces, self.clips[row].language, with_timestamps=True)
        return start + self.clips[row].duration <= target and num_targets <= MAX_LABEL_TOKENS
