"""Finds clips that cannot be used for training: silent or clipped ones, those with an offset, and those with
only a steady sound.
"""

import hashlib
import math
from collections.abc import Callable

import numpy as np

from utils.audio.flac import SAMPLE_RATE, to_int16
from utils.runtime.problems import Problem

WINDOW = SAMPLE_RATE // 10  # 100 ms

SILENCE_DBFS = -60.0  # here speech has about 30 steps of 16 bits; the quietest of the prompts has -25

OFFSET_LIMIT = 0.1

# Word error rate of Whisper base on 37 English prompts, overdriven until this median share was clipped:
# 0 % 4.9, 3 % 4.6, 19 % 8.7, 37 % 14.7, 53 % 24.9.
CLIPPED_SHARE = 0.15

CLIPPED_PEAK = 0.1  # below it, the steps of 8-bit recordings look like clipping

STEADY_RANGE_DB = 4.0  # the prompts have at least 15.8, white noise has 1.1

STEADY_MIN_DURATION = 0.5  # a single vowel can be steady

FRAME = SAMPLE_RATE // 50  # 20 ms


def check_clip(samples: np.ndarray, rules: frozenset[str]) -> Problem | None:
    """Check a clip by the rules that are turned on.

    Return the problem that the first matching rule finds, or None.

    Args:
        samples: (samples,) float32 at 16 kHz, at least one sample.
        rules: Names from `RULES`.
    """
    reasons = (check(samples) for name, check in _CLIP_CHECKS.items() if name in rules)
    return next(filter(None, reasons), None)


def _find_silence(samples: np.ndarray) -> Problem | None:
    loudest = loudest_level(samples)
    if loudest == -math.inf:
        return Problem("silent", "digital silence: every sample is 0; check the recording")
    if loudest < SILENCE_DBFS:
        return Problem(
            "silent",
            f"the loudest 100 ms have {loudest:.0f} dBFS, expected at least {SILENCE_DBFS:.0f}; "
            "check the recording, or amplify it",
        )
    return None


def loudest_level(samples: np.ndarray) -> float:
    """Return the level of the loudest 100 ms in dBFS.

    The mean is subtracted first. For digital silence the level is -inf.
    """
    windows = _in_frames(samples, min(WINDOW, len(samples)))
    return 10 * math.log10(power) if (power := float(windows.var(axis=1).max())) > 0 else -math.inf


def _find_offset(samples: np.ndarray) -> Problem | None:
    mean = float(samples.mean(dtype=np.float64))
    if abs(mean) <= OFFSET_LIMIT:
        return None
    return Problem("DC offset", f"the mean is {mean:+.2f} of full scale, expected 0; filter the recording")


def _find_clipping(samples: np.ndarray) -> Problem | None:
    share = clipped_share(samples)
    if share <= CLIPPED_SHARE:
        return None
    return Problem(
        "clipped",
        f"{share:.1%} of the samples are cut flat at the top, expected at most {CLIPPED_SHARE:.0%}; "
        "record at a lower level",
    )


def clipped_share(samples: np.ndarray) -> float:
    """Return the share of neighbouring samples at the maximum if there are too many of them, else 0.

    In undistorted sound, samples become rarer towards the maximum. In clipped sound, the histogram has a peak
    at its end, even after resampling or a lower volume.
    """
    level = np.abs(samples)
    top = min(float(level.max()), 1.0)
    if top < CLIPPED_PEAK:
        return 0.0
    at_the_top = level >= 0.98 * top
    flat = float(np.mean(at_the_top[1:] & at_the_top[:-1])) if len(level) > 1 else 0.0
    just_below = float(np.mean((level >= 0.94 * top) & (level < 0.98 * top)))
    return flat if flat > 2 * just_below else 0.0


def _find_steady_sound(samples: np.ndarray) -> Problem | None:
    if len(samples) < STEADY_MIN_DURATION * SAMPLE_RATE:
        return None
    power = np.square(_in_frames(samples, FRAME)).mean(axis=1)
    low, high = np.percentile(10 * np.log10(np.maximum(power, 1e-12)), [5, 95])
    if high - low >= STEADY_RANGE_DB:
        return None
    return Problem(
        "steady sound", f"the level varies by {high - low:.1f} dB only: noise or a tone, no speech"
    )


def _in_frames(samples: np.ndarray, length: int) -> np.ndarray:
    """Reshape (samples,) to (frames, length). Samples at the end that do not fill a frame are dropped."""
    return samples[: len(samples) // length * length].reshape(-1, length)


_CLIP_CHECKS: dict[str, Callable[[np.ndarray], Problem | None]] = {
    "silent": _find_silence,
    "dc_offset": _find_offset,
    "clipped": _find_clipping,
    "steady_sound": _find_steady_sound,
}


def content_hash(samples: np.ndarray) -> bytes:
    """Return a hash of 16 bytes of (samples,) float32. It is equal for clips with equal 16-bit samples."""
    return hashlib.blake2b(to_int16(samples).astype("<i2").tobytes(), digest_size=16).digest()
