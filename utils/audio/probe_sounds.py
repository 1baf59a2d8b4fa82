"""Sounds that nobody speaks in: whatever a model writes for them, it made up.

All of them are generated, so that everybody hears the same. Some kinds, such as hum and knocks, are in no
training with `utils/audio/non_speech.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.audio.acoustics import colored_noise
from utils.audio.flac import SAMPLE_RATE

# of full scale; None: digital silence
NOISE_LEVELS_DB = {
    "silence": None,
    "floor": -75.0,  # white: a good microphone in a quiet room
    "white": -35.0,
    "pink": -30.0,
    "brown": -25.0,
    "babble": -30.0,
}

KINDS = {
    **dict.fromkeys(("silence", "floor"), "silence"),
    **dict.fromkeys(("white", "pink", "brown", "babble", "hum", "knocks"), "noise"),
    **dict.fromkeys(("ringing", "tune"), "music"),
}
"""Every kind of sound, and whether people would call it silence, noise or music."""


@dataclass(frozen=True)
class Sound:
    """A window without speech."""

    kind: str  # a key of `KINDS`
    samples: np.ndarray  # (samples,) float32 at 16 kHz

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / SAMPLE_RATE


def build_sounds(durations: Sequence[float], seed: int) -> list[Sound]:
    """Every kind in every duration."""
    sounds = []
    for number, kind in enumerate(KINDS):
        for place, seconds in enumerate(durations):
            random = np.random.default_rng((seed, number, place))
            sounds.append(Sound(kind, make_sound(kind, round(seconds * SAMPLE_RATE), random)))
    return sounds


def make_sound(kind: str, num_samples: int, random: np.random.Generator) -> np.ndarray:
    """(num_samples,) float32 of one kind, in [-1, 1]."""
    builders = {"hum": hum, "knocks": knocks, "ringing": ringing, "tune": tune}
    if kind in builders:
        floor = 10 ** (-70 / 20) * random.standard_normal(num_samples)
        samples = builders[kind](num_samples, random) + floor
        return np.clip(samples, -1.0, 1.0).astype(np.float32)
    level_db = NOISE_LEVELS_DB[kind]
    if level_db is None:
        return np.zeros(num_samples, dtype=np.float32)
    noise = colored_noise(num_samples, "white" if kind == "floor" else kind, random)
    return np.clip(noise * 10 ** (level_db / 20), -1.0, 1.0).astype(np.float32)


def hum(num_samples: int, random: np.random.Generator) -> np.ndarray:
    """Mains of 50 Hz with harmonics."""
    seconds = np.arange(num_samples) / SAMPLE_RATE
    phases = random.uniform(0, 2 * np.pi, 8)
    parts = [np.sin(2 * np.pi * 50 * n * seconds + phases[n - 1]) / n for n in range(1, 9)]
    return 0.03 * np.sum(parts, axis=0)


def knocks(num_samples: int, random: np.random.Generator) -> np.ndarray:
    """About two short dull bangs a second."""
    seconds = np.arange(round(0.2 * SAMPLE_RATE)) / SAMPLE_RATE
    bang = np.exp(-seconds / 0.02) * np.sin(2 * np.pi * 180 * seconds)
    samples = np.zeros(num_samples + len(bang))
    for start in random.integers(num_samples, size=max(1, round(2 * num_samples / SAMPLE_RATE))):
        samples[start : start + len(bang)] += random.uniform(0.05, 0.4) * bang
    return samples[:num_samples]


def ringing(num_samples: int, random: np.random.Generator) -> np.ndarray:
    """A telephone that rings: 425 Hz, one second on and four off."""
    seconds = np.arange(num_samples) / SAMPLE_RATE + random.uniform(0, 1)
    return 0.1 * np.sin(2 * np.pi * 425 * seconds) * (seconds % 5 < 1)


def tune(num_samples: int, random: np.random.Generator) -> np.ndarray:
    """Notes of a pentatonic scale, each with harmonics, three a second."""
    length = SAMPLE_RATE // 3
    seconds = np.arange(length) / SAMPLE_RATE
    notes = []
    for step in random.choice([0, 2, 4, 7, 9, 12], size=-(-num_samples // length)):
        hertz = 262 * 2 ** (step / 12)
        tone = sum(np.sin(2 * np.pi * hertz * n * seconds) / n**2 for n in (1, 2, 3))
        notes.append(0.1 * np.exp(-seconds / 0.15) * tone)
    return np.concatenate(notes)[:num_samples]
