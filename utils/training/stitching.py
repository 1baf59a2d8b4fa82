"""Join neighbouring clips to longer ones, with their original pauses or with random ones.

Programs that decode a recording by windows of 30 s continue where the last timestamp says. Most windows end
in the middle of speech. So some examples do too: they are filled up to 30 s with the beginning of the next
clip, of which the target has only the start time. This follows Whisper's own training (section 2.3 of
https://arxiv.org/abs/2212.04356). A model that has not learnt it ends its text early, and speech is skipped.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.model.context import FULL_CONTEXT, TAIL
from utils.text.label_tokens import MAX_LABEL_TOKENS, LabelWriter
from utils.training.clip_rows import TrainingClip

LONGEST_PAUSE = 2.0  # seconds: the longest original pause that stitching keeps

DRAWN_PAUSES = (0.2, 1.0)  # seconds: range of random pauses

SHORTEST_STITCH, LONGEST_STITCH = 10.0, FULL_CONTEXT - TAIL  # seconds: range of lengths of joined clips

CUT_SHARE = 0.5  # of the joined examples, if there are timestamps: they fill the window, so it may cut speech

LAST_CUT_START = FULL_CONTEXT - 0.5  # seconds: if speech begins later, too little of it is heard


@dataclass(frozen=True)
class Group:
    """Clips that become one example."""

    rows: tuple[int, ...]
    offsets: tuple[float, ...]  # seconds at which each begins
    cut: tuple[int, float] | None = None  # row and start of the clip that goes on after the window


@dataclass(frozen=True)
class Stitcher:
    """Joins clips with the next clips in the dataset."""

    clips: Sequence[TrainingClip]
    datasets: Sequence[int]  # dataset number of each clip
    writer: LabelWriter  # counts the labels, which must fit into the decoder
    probability: float  # of joining a clip with the next ones
    cuts: bool = False  # whether examples may end in the middle of speech, which needs timestamps

    def groups(self, rows: list[int], random: np.random.Generator) -> list[Group]:
        """Group rows into examples. Each row is in one group; one that is cut is in the next group too."""
        if not self.probability:
            return [Group((row,), (0.0,)) for row in rows]
        groups: list[Group] = []
        rest = rows[::-1]
        while rest:
            target = random.uniform(SHORTEST_STITCH, LONGEST_STITCH)
            if random.random() >= self.probability:
                groups.append(Group((rest.pop(),), (0.0,)))
                continue
            may_cut = self.cuts and random.random() < CUT_SHARE
            groups.append(self._join(rest, LONGEST_STITCH if may_cut else target, may_cut, random))
        return groups

    def _join(self, rest: list[int], target: float, may_cut: bool, random: np.random.Generator) -> Group:
        """Take rows from the end of `rest` and join them, up to `target` seconds."""
        group, offsets = [rest.pop()], [0.0]
        end, cut = self.clips[group[0]].duration, None
        while rest:
            row = rest[-1]
            pause = self._pause(group[-1], row, random)
            if pause is None:
                break
            start, end = end + pause, end + pause + self.clips[row].duration
            if not self._fits(group, row, end, target):
                is_cut = may_cut and start <= LAST_CUT_START and end > FULL_CONTEXT
                cut = (row, start) if is_cut else None
                break
            offsets.append(start)
            group.append(rest.pop())
        return Group(tuple(group), tuple(offsets), cut)

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

    def _fits(self, group: list[int], row: int, end: float, target: float) -> bool:
        pieces = [piece for member in [*group, row] for piece in self.clips[member].pieces]
        num_targets = self.writer.count_targets(pieces, self.clips[row].language, with_timestamps=True)
        return end <= target and num_targets <= MAX_LABEL_TOKENS
