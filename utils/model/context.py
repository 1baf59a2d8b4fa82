"""Audio context: how many seconds of audio the encoder gets."""

import math

FULL_CONTEXT = 30.0  # seconds: the window Whisper was trained on

TRAINING_GRID = 0.1  # seconds: contexts of training steps are multiples of this

DECODING_GRID = 0.5  # seconds: coarser, so that clips of nearly the same length share a batch

TAIL = 0.1  # seconds of silence that always follow the longest clip


def dynamic_context(duration: float, grid: float) -> float:
    """Seconds of context for a clip: its duration and a short tail, rounded up to the grid, 30 at most."""
    steps = math.ceil(round((duration + TAIL) / grid, 6))
    return min(round(steps * grid, 6), FULL_CONTEXT)
