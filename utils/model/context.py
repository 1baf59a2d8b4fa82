"""Compute the audio context: the seconds of audio that the encoder gets."""

import math

FULL_CONTEXT = 30.0  # seconds: the window Whisper was trained on

TRAINING_GRID = 0.1  # seconds: contexts of training steps are multiples of this

DECODING_GRID = 0.5  # seconds: coarser, so that clips of nearly the same length share a batch

TAIL = 0.1  # seconds of silence after the longest clip


def dynamic_context(duration: float, grid: float) -> float:
    """Return the context of a clip in seconds.

    It is the duration and the tail, rounded up to the grid, at most 30.
    """
    steps = math.ceil(round((duration + TAIL) / grid, 6))
    return min(round(steps * grid, 6), FULL_CONTEXT)
