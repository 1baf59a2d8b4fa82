"""Clips of one neighbourhood joined to longer ones, with the pauses they had or drawn ones between them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.model.context import FULL_CONTEXT, TAIL
from utils.text.label_tokens import MAX_LABEL_TOKENS, LabelWriter
from utils.training.clip_rows import TrainingClip

LONGEST_PAUSE = 2.0  # seconds between two clips of one recording that stitching keeps

DRAWN_PAUSES = (0.2, 1.0)  # seconds between stitched clips otherwise

SHORTEST_STITCH = 10.0  # seconds: the length a stitch aims at is drawn from here to 30 s


@dataclass(frozen=True)
class Stitcher:
    """Joins clips with those after them in the dataset."""

    clips: Sequence[TrainingClip]
    datasets: Sequence[int]  # of each clip
    writer: LabelWriter  # counts the labels, which must fit
    probability: float  # that a clip is joined at all

    def groups(
        self, rows: list[int], random: np.random.Generator
    ) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
        """Groups of rows that make up an example, each with the seconds at which its rows begin."""
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
        """Seconds of silence between two clips; None where they do not belong together."""
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
