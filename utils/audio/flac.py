"""Samples at 16 kHz to FLAC bytes and back."""

import io
import math

import numpy as np
import soundfile

from utils.runtime.problems import BadItem

SAMPLE_RATE = 16000
"""Samples per second everything is brought to; Whisper knows no other."""


class AudioError(BadItem):
    """Audio that cannot be used."""


def encode_flac(samples: np.ndarray) -> bytes:
    """Encode (samples,) float32 in [-1, 1] at 16 kHz as 16-bit mono FLAC; louder samples are clipped."""
    file = io.BytesIO()
    soundfile.write(file, to_int16(samples), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def to_int16(samples: np.ndarray) -> np.ndarray:
    """The 16-bit samples that `encode_flac` stores of (samples,) float32: (samples,) int16."""
    return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)


def decode_flac(data: bytes) -> np.ndarray:
    """Decode what `encode_flac` wrote to (samples,) float32; nothing is checked or resampled.

    Raises:
        AudioError: The bytes are no FLAC at 16 kHz mono.
    """
    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    except soundfile.SoundFileError as error:
        raise AudioError("not audio", str(error)) from None
    if rate != SAMPLE_RATE or samples.ndim != 1:
        raise AudioError("not 16 kHz mono", f"{rate} Hz, shape {samples.shape}; run preprocess.py on it")
    return samples


def num_samples_at(seconds: float) -> int:
    """The sample nearest to a point in time."""
    return math.floor(seconds * SAMPLE_RATE + 0.5)
