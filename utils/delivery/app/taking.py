"""Take the recording that a visitor gave: fetch and decode it, or say in one sentence why not."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.audio.flac import AudioError
from utils.audio.reading import decode_audio
from utils.delivery.app.choosing import Chosen
from utils.runtime.errors import UserError


@dataclass(frozen=True)
class Limits:
    """What a visitor may ask for."""

    max_seconds: float = 3600.0  # of a recording
    max_bytes: int = 200 << 20  # of a file
    max_work: float = 3600.0  # seconds in which a recording must be transcribed
    allow_local_links: bool = False  # to this machine and its network; for tests


def take_sound(chosen: Chosen, folder: Path, limits: Limits) -> np.ndarray:
    """Return the recording as (samples,) float32 at 16 kHz.

    Raises:
        UserError: It cannot be had, is too large or too long, or has no sound.
    """
    try:
        return decode_audio(Path(chosen.value), max_seconds=limits.max_seconds)
    except AudioError as error:
        raise UserError(str(error.problem.kind)) from None
