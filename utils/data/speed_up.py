"""Estimates how much work a dynamic audio context saves on these clips."""

from collections.abc import Sequence

import numpy as np

from utils.data.data_report import DynamicContext
from utils.data.length_batches import Example, StepSize, order_batches
from utils.model.context import FULL_CONTEXT, TRAINING_GRID, dynamic_context
from utils.model.silence import POSITIONS_PER_SECOND, seconds_of_work

BATCH_SIZE = 8  # clips in a training step of the estimate, train.py's default

MOST_PLANNED_CLIPS = 4096  # enough for an estimate

CHARACTERS_PER_TOKEN = 3.0  # assumed if tokens were not counted

# Whisper base, to estimate the cost of a step (https://arxiv.org/abs/2212.04356, table 1).
LAYERS, WIDTH, MEL_BINS, VOCABULARY = 6, 512, 80, 51_865

FIXED_SHARE = 0.06
"""Share of the time of a step in the full context that a shorter context does not reduce: optimiser, data,
start of each kernel. Measured on 155 steps of 8 clips with Whisper base on two cores. There, contexts without
silence made a step 6.7 times as fast (docs/lab_log.md).
"""


def estimate_speed_up(durations: Sequence[float], mean_tokens: float, *, silence_run: int) -> DynamicContext:
    """Estimate how many times as fast the dynamic context makes the training of Whisper base, in batches of 8
    clips.

    The batches are those of train.py in one epoch. The cost of a step is the sum of `multiply_adds` over its
    clips, for the positions of the step, and a fixed part (`FIXED_SHARE`). For larger models and other
    machines the result differs. They save more if their fixed part is smaller.

    Args:
        durations: Seconds of clips, at least one. They are a sample of the training split.
        mean_tokens: Mean number of tokens in a label.
        silence_run: Number of silent positions that one position represents, see utils/model/silence.py.
    """
    examples = [Example((row,), seconds, 0) for row, seconds in enumerate(durations)]
    batches = order_batches(examples, StepSize(clips=BATCH_SIZE), np.random.default_rng(0))
    longest = [max(durations[index] for index in batch) for batch in batches]
    contexts = [dynamic_context(seconds, TRAINING_GRID) for seconds in longest]
    work = np.array([seconds_of_work(context, silence_run) for context in contexts])
    full = multiply_adds(np.array(FULL_CONTEXT), mean_tokens)
    fixed = FIXED_SHARE / (1 - FIXED_SHARE) * full
    speed_up = (fixed + full) / (fixed + multiply_adds(work, mean_tokens).mean())
    means = (mean_tokens, np.mean(contexts), work.mean(), speed_up)
    tokens, context, seconds, gain = (round(float(mean), 4) for mean in means)
    return DynamicContext(BATCH_SIZE, silence_run, tokens, context, seconds, gain)


def multiply_adds(seconds: np.ndarray, tokens: float) -> np.ndarray:
    """Count the multiply-adds of Whisper base's forward pass for one clip.

    For each position, there are the projections of attention (4 d²) and the two layers after it (8 d²). For
    each pair of positions, there are the scores and the weighted sum (2 d). The decoder also projects keys
    and values of each encoder position. The backward pass needs twice as many in any context. So it does not
    change ratios, and is left out.

    Args:
        seconds: Seconds of encoder input, an array of any shape.
        tokens: Number of tokens in the label.
    """
    positions = seconds * POSITIONS_PER_SECOND
    convolutions = 3 * WIDTH * (2 * MEL_BINS + WIDTH) * positions  # the first has twice the rate
    encoder = LAYERS * (12 * WIDTH**2 * positions + 2 * WIDTH * positions**2)
    cross_attention = LAYERS * (2 * WIDTH**2 * positions + 2 * WIDTH * positions * tokens)
    decoder = LAYERS * (14 * WIDTH**2 * tokens + 2 * WIDTH * tokens**2) + WIDTH * VOCABULARY * tokens
    return convolutions + encoder + cross_attention + decoder
