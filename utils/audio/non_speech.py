"""Windows without speech, whose text is empty: against words that a model makes up in noise and silence.

Fine-tuning on clips that all hold speech teaches that there always is some. CrisperWhisper (Wagner et al.
2024, arXiv:2408.16589) met that with examples of noise alone.
"""

from dataclasses import dataclass

import numpy as np

from utils.audio.acoustics import NOISE_KINDS, colored_noise
from utils.audio.augmentation import NON_SPEECH
from utils.audio.flac import SAMPLE_RATE
from utils.audio.sound_files import draw_sound, folder_problems
from utils.runtime.errors import UserError

SILENCE = "silence"  # every sample 0, as between the cuts of an edited recording

KINDS = (SILENCE, *NOISE_KINDS)

LEVELS_DB = (-80.0, -15.0)  # of full scale: the floor of a good microphone to a loud room

RECORDED_SHARE = 0.5  # of the windows, where there is a folder

LONG_SHARE = 0.1  # of the windows; their durations are drawn evenly, the others' are those of clips

SHORTEST_LONG = 8.0  # seconds


@dataclass(frozen=True)
class NonSpeech:
    """How many windows without speech an epoch has, and where they come from."""

    share: float = 0.0  # of the examples with speech; so many come on top
    folder: str | None = None  # recordings without speech; without it all windows are generated


def draw_duration(clip_duration: float, longest: float, random: np.random.Generator) -> float:
    """Seconds of a window: those of a drawn clip, or now and then anything up to `longest`."""
    is_long, long_duration = random.random() < LONG_SHARE, random.uniform(SHORTEST_LONG, longest)
    return round(long_duration, 2) if is_long else clip_duration


def make_window(duration: float, folder: str | None, seed: tuple[int, ...]) -> np.ndarray:
    """Silence, noise of some colour and level, or a stretch of a recording.

    Args:
        duration: Seconds.
        folder: `NonSpeech.folder`.
        seed: Whole numbers from 0; the same give the same samples.

    Returns:
        (duration * 16000,) float32; loud noise may exceed [-1, 1].

    Raises:
        UserError: A file of the folder cannot be read any more; see `check_non_speech`.
    """
    random = np.random.default_rng((NON_SPEECH, *seed))
    num_samples = round(duration * SAMPLE_RATE)
    if folder is not None and random.random() < RECORDED_SHARE:
        return draw_sound(folder, random).stretch(num_samples, random)
    kind = KINDS[int(random.integers(len(KINDS)))]
    if kind == SILENCE:
        return np.zeros(num_samples, dtype=np.float32)
    level_db = random.uniform(*LEVELS_DB)
    return colored_noise(num_samples, kind, random) * np.float32(10 ** (level_db / 20))


def check_non_speech(non_speech: NonSpeech) -> None:
    """Decode every file of the folder, before anything long; one process of a run is enough.

    Raises:
        UserError: There is no such folder, no audio in it, or some that cannot be used.
    """
    if non_speech.share > 0 and non_speech.folder is not None:
        problems = folder_problems(non_speech.folder)
        if problems:
            raise UserError("\n       ".join(problems))
