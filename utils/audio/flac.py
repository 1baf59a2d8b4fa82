"""Encode samples at 16 kHz as FLAC bytes, and decode them."""

import io
import math

import numpy as np
import soundfile

from utils.runtime.problems import BadItem

SAMPLE_RATE = 16000
"""Samples per second of all audio after reading. Whisper accepts no other rate."""


class AudioError(BadItem):
    """Audio that cannot be used."""


def encode_flac(samples: np.ndarray) -> bytes:
    """Encode (samples,) float32 in [-1, 1] at 16 kHz as 16-bit mono FLAC. Louder samples are clipped."""
    file = io.BytesIO()
    soundfile.write(file, to_int16(samples), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Return the 16-bit samples (samples,) int16 that `encode_flac` stores for (samples,) float32."""
    return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)


def decode_flac(data: bytes) -> np.ndarray:
    """Decode the output of `encode_flac` to (samples,) float32, without checks or resampling.

    Raises:
        AudioError: The bytes are not FLAC at 16 kHz mono.
    """
    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    except soundfile.SoundFileError as error:
        raise AudioError("not audio", str(error)) from None
    if rate != SAMPLE_RATE or samples.ndim != 1:
        raise AudioError("not 16 kHz mono", f"{rate} Hz, shape {samples.shape}; run preprocess.py on it")
    return samples


def num_samples_at(seconds: float) -> int:
    """Return the index of the sample nearest to a point in time."""
    return math.floor(seconds * SAMPLE_RATE + 0.5)
