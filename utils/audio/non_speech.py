"""Make sounds without speech: training windows with empty text, and probes for invented words.

A model that is fine-tuned only on speech learns that every window has speech. CrisperWhisper (Wagner et al.
2024, arXiv:2408.16589) prevents this with examples of pure noise. Every word that a model writes for a probe
is invented. Probes are generated, so they are the same for everybody. Hum and knocks are never used in
training.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.audio.acoustics import NOISE_KINDS, colored_noise
from utils.audio.augmentation import NON_SPEECH
from utils.audio.flac import SAMPLE_RATE
from utils.audio.sound_files import draw_sound

SILENCE = "silence"  # every sample 0, as between the cuts of an edited recording

WINDOW_KINDS = (SILENCE, *NOISE_KINDS)

LEVELS_DB = (-80.0, -15.0)  # of full scale: the floor of a good microphone to a loud room

RECORDED_SHARE = 0.5  # of the windows, if a folder is given

LONG_SHARE = 0.1  # of the windows; their durations are drawn evenly, those of the others from clips

SHORTEST_LONG = 8.0  # seconds


def draw_duration(clip_duration: float, longest: float, random: np.random.Generator) -> float:
    """Draw the duration of a window in seconds.

    It is that of a random clip, or sometimes any value up to `longest`.
    """
    is_long, long_duration = random.random() < LONG_SHARE, random.uniform(SHORTEST_LONG, longest)
    return round(long_duration, 2) if is_long else clip_duration


def make_window(duration: float, folder: str | None, seed: tuple[int, ...]) -> np.ndarray:
    """Make a window of silence, a window of noise of a random colour and level, or a part of a recording.

    Args:
        duration: Seconds.
        folder: `NonSpeech.non_speech_dir`.
        seed: Whole numbers, 0 or above. The same numbers give the same samples.

    Returns:
        (duration * 16000,) float32. Loud noise may exceed [-1, 1].

    Raises:
        UserError: A file of the folder cannot be read any more. `check_sounds` has read it before.
    """
    random = np.random.default_rng((NON_SPEECH, *seed))
    num_samples = round(duration * SAMPLE_RATE)
    if folder is not None and random.random() < RECORDED_SHARE:
        return draw_sound(folder, random).stretch(num_samples, random)
    kind = WINDOW_KINDS[int(random.integers(len(WINDOW_KINDS)))]
    if kind == SILENCE:
        return np.zeros(num_samples, dtype=np.float32)
    level_db = random.uniform(*LEVELS_DB)
    return colored_noise(num_samples, kind, random) * np.float32(10 ** (level_db / 20))


# of full scale; None: digital silence
PROBE_LEVELS_DB = {
    "silence": None,
    "floor": -75.0,  # white: a good microphone in a quiet room
    "white": -35.0,
    "pink": -30.0,
    "brown": -25.0,
    "babble": -30.0,
}

PROBE_KINDS = {
    **dict.fromkeys(("silence", "floor"), "silence"),
    **dict.fromkeys(("white", "pink", "brown", "babble", "hum", "knocks"), "noise"),
    **dict.fromkeys(("ringing", "tune"), "music"),
}
"""Every kind of sound, and whether it counts as silence, noise or music."""


@dataclass(frozen=True)
class Probe:
    """A window without speech."""

    kind: str  # a key of `PROBE_KINDS`
    samples: np.ndarray  # (samples,) float32 at 16 kHz

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / SAMPLE_RATE


def build_probes(durations: Sequence[float], seed: int) -> list[Probe]:
    """Build one probe of every kind for every duration."""
    probes = []
    for number, kind in enumerate(PROBE_KINDS):
        for place, seconds in enumerate(durations):
            random = np.random.default_rng((seed, number, place))
            probes.append(Probe(kind, make_probe(kind, round(seconds * SAMPLE_RATE), random)))
    return probes


def make_probe(kind: str, num_samples: int, random: np.random.Generator) -> np.ndarray:
    """Return (num_samples,) float32 of one kind, in [-1, 1]."""
    builders = {"hum": hum, "knocks": knocks, "ringing": ringing, "tune": tune}
    if kind in builders:
        floor = 10 ** (-70 / 20) * random.standard_normal(num_samples)
        samples = builders[kind](num_samples, random) + floor
        return np.clip(samples, -1.0, 1.0).astype(np.float32)
    level_db = PROBE_LEVELS_DB[kind]
    if level_db is None:
        return np.zeros(num_samples, dtype=np.float32)
    noise = colored_noise(num_samples, "white" if kind == "floor" else kind, random)
    return np.clip(noise * 10 ** (level_db / 20), -1.0, 1.0).astype(np.float32)


def hum(num_samples: int, random: np.random.Generator) -> np.ndarray:
    """Return mains hum of 50 Hz with harmonics."""
    seconds = np.arange(num_samples) / SAMPLE_RATE
    phases = random.uniform(0, 2 * np.pi, 8)
    parts = [np.sin(2 * np.pi * 50 * n * seconds + phases[n - 1]) / n for n in range(1, 9)]
    return 0.03 * np.sum(parts, axis=0)


def knocks(num_samples: int, random: np.random.Generator) -> np.ndarray:
    """Return short low knocks, about two a second."""
    seconds = np.arange(round(0.2 * SAMPLE_RATE)) / SAMPLE_RATE
    bang = np.exp(-seconds / 0.02) * np.sin(2 * np.pi * 180 * seconds)
    samples = np.zeros(num_samples + len(bang))
    for start in random.integers(num_samples, size=max(1, round(2 * num_samples / SAMPLE_RATE))):
        samples[start : start + len(bang)] += random.uniform(0.05, 0.4) * bang
    return samples[:num_samples]


def ringing(num_samples: int, random: np.random.Generator) -> np.ndarray:
    """Return a ringing telephone: 425 Hz, one second on and four off."""
    seconds = np.arange(num_samples) / SAMPLE_RATE + random.uniform(0, 1)
    return 0.1 * np.sin(2 * np.pi * 425 * seconds) * (seconds % 5 < 1)


def tune(num_samples: int, random: np.random.Generator) -> np.ndarray:
    """Return notes of a pentatonic scale with harmonics, three a second."""
    length = SAMPLE_RATE // 3
    seconds = np.arange(length) / SAMPLE_RATE
    notes = []
    for step in random.choice([0, 2, 4, 7, 9, 12], size=-(-num_samples // length)):
        hertz = 262 * 2 ** (step / 12)
        tone = sum(np.sin(2 * np.pi * hertz * n * seconds) / n**2 for n in (1, 2, 3))
        notes.append(0.1 * np.exp(-seconds / 0.15) * tone)
    return np.concatenate(notes)[:num_samples]
