"""Decodes the audio of an utterance. The audio is a file, bytes in memory or a member of an archive."""

from pathlib import PurePosixPath

import numpy as np

from utils.audio.reading import LONGEST_AUDIO, decode_audio
from utils.data.archives.members import ArchiveMember, read_member
from utils.data.utterance import Audio


def decode_recording(
    audio: Audio, *, max_seconds: float = LONGEST_AUDIO, allow_truncated: bool = False
) -> np.ndarray:
    """Decode to (samples,) float32 at 16 kHz mono. See `decode_audio`.

    Raises:
        BadItem: The audio cannot be read or decoded.
    """
    suffix = None
    if isinstance(audio, ArchiveMember):
        suffix = PurePosixPath(audio.name).suffix
        audio = read_member(audio)
    return decode_audio(audio, suffix=suffix, max_seconds=max_seconds, allow_truncated=allow_truncated)
