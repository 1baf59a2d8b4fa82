"""Real prompts joined to a talk, with pauses at known places."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.audio.flac import SAMPLE_RATE

LOUD = 0.02  # of full scale, which the silence before a prompt does not reach

PAUSES = (0.4, 0.7, 0.5, 0.9, 0.6)  # seconds, in turn


@dataclass(frozen=True)
class Talk:
    """A talk of several prompts."""

    samples: np.ndarray  # (samples,) float32 at 16 kHz
    onsets: list[float]  # seconds, where the first sound of each prompt is
    ends: list[float]  # seconds, where the last sound is
    texts: list[str]

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def join_prompts(prompts: Sequence[tuple[np.ndarray, str]]) -> Talk:
    """Join prompts, (samples,) at 16 kHz and text each, with silence between them."""
    parts: list[np.ndarray] = []
    onsets, ends, place = [], [], 0
    for (samples, _), pause in zip(prompts, itertools.cycle(PAUSES), strict=False):
        loud = np.flatnonzero(np.abs(samples) > LOUD)
        onsets.append((place + loud[0]) / SAMPLE_RATE)
        ends.append((place + loud[-1]) / SAMPLE_RATE)
        parts += [samples, np.zeros(round(pause * SAMPLE_RATE), dtype=np.float32)]
        place += len(parts[-2]) + len(parts[-1])
    return Talk(np.concatenate(parts), onsets, ends, [text for _, text in prompts])
