"""How much work a dynamic audio context spares on these clips."""

from collections.abc import Sequence

import numpy as np

from utils.data.data_report import DynamicContext
from utils.data.length_batches import Example, StepSize, order_batches
from utils.model.context import FULL_CONTEXT, TRAINING_GRID, dynamic_context
from utils.model.silence import POSITIONS_PER_SECOND, seconds_of_work

BATCH_SIZE = 8  # clips of a training step in the estimate, train.py's default

MOST_PLANNED_CLIPS = 4096  # an estimate needs no more

CHARACTERS_PER_TOKEN = 3.0  # assumed where tokens were not counted

# Shape of Whisper base, for the estimate of what a step costs (https://arxiv.org/abs/2212.04356, table 1).
LAYERS, WIDTH, MEL_BINS, VOCABULARY = 6, 512, 80, 51_865

FIXED_SHARE = 0.06
"""Part of a step on the full context that no shorter context saves: the optimiser, the data, the start of
each kernel. Read off 155 steps of 8 clips of Whisper base on two cores, where tight contexts made a step 6.7
times as fast (docs/lab_log.md)."""


def estimate_speed_up(durations: Sequence[float], mean_tokens: float, *, silence_run: int) -> DynamicContext:
    """Estimate what the dynamic context saves in training Whisper base, in batches of 8 clips.

    The batches are those that train.py's sampler makes of the clips in one epoch. A step's cost is
    `multiply_adds` for each clip, on the positions of the step, and a fixed part (`FIXED_SHARE`). Larger
    models and other machines differ; they save more where the fixed part is smaller.

    Args:
        durations: Seconds of clips, at least one; they stand for the whole training split.
        mean_tokens: Of a label.
        silence_run: Positions of silence that one stands for, see utils/model/silence.py.
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
    """Multiply-adds of Whisper base's forward pass for one clip.

    Per position the projections of attention (4 d²) and the two layers after it (8 d²); per pair of positions
    the scores and the weighted sum (2 d). The decoder also projects keys and values of each encoder position.
    The backward pass takes twice as many again, whatever the context, so that ratios do not need it.

    Args:
        seconds: That the encoder works on, any shape.
        tokens: Of the label.
    """
    positions = seconds * POSITIONS_PER_SECOND
    convolutions = 3 * WIDTH * (2 * MEL_BINS + WIDTH) * positions  # the first runs at twice the rate
    encoder = LAYERS * (12 * WIDTH**2 * positions + 2 * WIDTH * positions**2)
    cross_attention = LAYERS * (2 * WIDTH**2 * positions + 2 * WIDTH * positions * tokens)
    decoder = LAYERS * (14 * WIDTH**2 * tokens + 2 * WIDTH * tokens**2) + WIDTH * VOCABULARY * tokens
    return convolutions + encoder + cross_attention + decoder
