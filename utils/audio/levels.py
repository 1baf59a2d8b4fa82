"""Find silence in a recording by the levels of its frames."""

import math
from dataclasses import dataclass

import numpy as np

from utils.audio.flac import SAMPLE_RATE

LEVEL_SAMPLES = 160  # 10 ms: the hop of `frame_levels`

LEVEL_BLOCK = 3000  # frames, 30 s: loud and silent are judged within such a block

SHORTEST_SILENCE = 6  # frames: shorter dips are the closures of p, t and k

LEVEL_SECONDS = LEVEL_SAMPLES / SAMPLE_RATE

CUT_REACH = 0.1  # seconds around the gap between two words in which silence is searched

SILENCE_REACH = 0.5  # seconds by which such a silence may go on outside them


def runs_of(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return (first, last + 1) of each unbroken run of True in a (n,) mask."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def frame_levels(samples: np.ndarray) -> np.ndarray:
    """Return the level (frames,) of each 10 ms in dB; 0 is full scale. There is at least one frame."""
    num_frames = max(math.ceil(len(samples) / LEVEL_SAMPLES), 1)
    power = np.zeros(num_frames, dtype=np.float32)
    whole = len(samples) // LEVEL_SAMPLES
    blocks = samples[: whole * LEVEL_SAMPLES].reshape(whole, LEVEL_SAMPLES)
    power[:whole] = np.einsum("ij,ij->i", blocks, blocks) / LEVEL_SAMPLES
    if rest := samples[whole * LEVEL_SAMPLES :].astype(np.float32).tolist():
        power[-1] = sum(value * value for value in rest) / len(rest)
    return 10 * np.log10(power + 1e-10)


def silent_frames(levels: np.ndarray) -> np.ndarray:
    """Mark the silent frames. They are much quieter than the speech around them, for at least 60 ms.

    A frame is silent if it is 35 dB quieter than the loud frames in the 30 s around it. If the background is
    louder than that, a frame is silent if its level is in the lowest third between background and speech. But
    it must always be at least 10 dB quieter than the speech.

    Args:
        levels: (frames,) dB, from `frame_levels`.

    Returns:
        (frames,) bool.
    """
    silent = np.zeros(len(levels), dtype=bool)
    quietest_speech = np.percentile(levels, 95) - 25.0
    for start in range(0, len(levels), LEVEL_BLOCK):
        block = levels[start : start + LEVEL_BLOCK]
        around = levels[max(start - LEVEL_BLOCK // 2, 0) : start + LEVEL_BLOCK * 3 // 2]
        floor, loud = np.percentile(around, [5, 95])
        loud = max(loud, quietest_speech)
        limit = min(max(floor + 0.3 * (loud - floor), loud - 35.0), loud - 10.0)
        silent[start : start + LEVEL_BLOCK] = block < limit
    for first, last in runs_of(silent):
        if last - first < SHORTEST_SILENCE:
            silent[first:last] = False
    return silent


@dataclass(frozen=True)
class Levels:
    """The level of each 10 ms frame of a recording, in dB, and whether it is silent. Both are (frames,)."""

    decibels: np.ndarray
    silent: np.ndarray

    def cut_point(self, end: float, start: float) -> float:
        """Return the best place, in seconds, to cut between a word ending at `end` and one starting at
        `start`.

        It is the middle of the longest silence within 100 ms of the gap. Without silence, it is the quietest
        frame.
        """
        first, last = self._frames(end - CUT_REACH, start + CUT_REACH)
        runs = runs_of(self.silent[first:last])
        if not runs:
            first, last = self._frames(end - CUT_REACH / 2, start + CUT_REACH / 2)
            return (first + int(self.decibels[first:last].argmin()) + 0.5) * LEVEL_SECONDS
        begin, stop = max(runs, key=lambda run: run[1] - run[0])
        # follow the silence further: word times are not exact, but no word lies in silence
        lowest, highest = self._frames(end - SILENCE_REACH, start + SILENCE_REACH)
        outside = runs_of(self.silent[lowest:highest])
        begin, stop = next(run for run in outside if run[0] <= first + begin - lowest < run[1])
        return (lowest + (begin + stop) / 2) * LEVEL_SECONDS

    def _frames(self, start: float, end: float) -> tuple[int, int]:
        """Return the first frame and last frame + 1 of a time span.

        At least one frame is in the recording.
        """
        first = min(max(math.floor(start / LEVEL_SECONDS), 0), len(self.silent) - 1)
        return first, min(max(math.ceil(end / LEVEL_SECONDS), first + 1), len(self.silent))


def measure_levels(samples: np.ndarray) -> Levels:
    """Measure the levels of a recording (samples,) float32 at 16 kHz."""
    decibels = frame_levels(samples)
    return Levels(decibels, silent_frames(decibels))
