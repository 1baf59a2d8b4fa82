"""Where a recording is silent: levels of its frames."""

import math
from dataclasses import dataclass

import numpy as np

from utils.audio.flac import SAMPLE_RATE

LEVEL_SAMPLES = 160  # 10 ms: the hop of `frame_levels`

LEVEL_BLOCK = 3000  # frames, 30 s: what is loud and what is silent is judged within so much

SHORTEST_SILENCE = 6  # frames: shorter dips are the closures of p, t and k

LEVEL_SECONDS = LEVEL_SAMPLES / SAMPLE_RATE

CUT_REACH = 0.1  # seconds before and after the gap between two words where their silence is looked for

SILENCE_REACH = 0.5  # seconds a silence found there is followed


def runs_of(mask: np.ndarray) -> list[tuple[int, int]]:
    """(first, last + 1) of each unbroken run of True in a (n,) mask."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def frame_levels(samples: np.ndarray) -> np.ndarray:
    """(frames,) level of each 10 ms in dB, 0 being full scale; at least one frame."""
    num_frames = max(math.ceil(len(samples) / LEVEL_SAMPLES), 1)
    power = np.zeros(num_frames, dtype=np.float32)
    whole = len(samples) // LEVEL_SAMPLES
    blocks = samples[: whole * LEVEL_SAMPLES].reshape(whole, LEVEL_SAMPLES)
    power[:whole] = np.einsum("ij,ij->i", blocks, blocks) / LEVEL_SAMPLES
    if rest := samples[whole * LEVEL_SAMPLES :].astype(np.float32).tolist():
        power[-1] = sum(value * value for value in rest) / len(rest)
    return 10 * np.log10(power + 1e-10)


def silent_frames(levels: np.ndarray) -> np.ndarray:
    """Which frames are silence: well below the speech around them, for at least 60 ms.

    A frame counts as silent when it is 35 dB below the loud frames of its 30 s, or, where the background is
    noisier than that, in the lowest third between background and speech, but never less than 10 dB below.

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
    """How loud a recording is in each frame of 10 ms, in dB, and which frames are silence; (frames,) each."""

    decibels: np.ndarray
    silent: np.ndarray

    def cut_point(self, end: float, start: float) -> float:
        """The best place to cut between a word that ends at `end` and one that begins at `start`, in seconds.

        The middle of the longest silence that is there, give or take 100 ms; without any, the quietest frame.
        """
        first, last = self._frames(end - CUT_REACH, start + CUT_REACH)
        runs = runs_of(self.silent[first:last])
        if not runs:
            first, last = self._frames(end - CUT_REACH / 2, start + CUT_REACH / 2)
            return (first + int(self.decibels[first:last].argmin()) + 0.5) * LEVEL_SECONDS
        begin, stop = max(runs, key=lambda run: run[1] - run[0])
        # a silence that goes on beyond: the times of words are not exact, but no word lies in silence
        lowest, highest = self._frames(end - SILENCE_REACH, start + SILENCE_REACH)
        outside = runs_of(self.silent[lowest:highest])
        begin, stop = next(run for run in outside if run[0] <= first + begin - lowest < run[1])
        return (lowest + (begin + stop) / 2) * LEVEL_SECONDS

    def _frames(self, start: float, end: float) -> tuple[int, int]:
        """First frame and last frame + 1 of a stretch of time, at least one frame within the recording."""
        first = min(max(math.floor(start / LEVEL_SECONDS), 0), len(self.silent) - 1)
        return first, min(max(math.ceil(end / LEVEL_SECONDS), first + 1), len(self.silent))


def measure_levels(samples: np.ndarray) -> Levels:
    """Measure a recording (samples,) float32 at 16 kHz."""
    decibels = frame_levels(samples)
    return Levels(decibels, silent_frames(decibels))
