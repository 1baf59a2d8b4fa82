"""Which clips make up each optimiser step, and how many seconds of audio context the encoder gets for them.

Whisper's encoder has no padding mask, so a clip's encoding depends on the context it is given. Hence in
training one context for all micro-batches and processes of an optimiser step; and in decoding a context that
follows from the utterance's own duration alone, never from its neighbours.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

FULL_CONTEXT = 30.0  # seconds: the window Whisper was trained on
TRAINING_GRID = 0.1  # seconds: contexts of training steps are multiples of this
DECODING_GRID = 0.5  # seconds: coarser, so that clips of nearly the same length share a batch
TAIL = 0.1  # seconds of silence that always follow the longest clip
POOL_BATCHES = (
    64  # clips of so many steps are sorted by length together; between pools the order stays random
)
LENGTH_NOISE = (
    0.1  # each epoch lengths are blurred by up to so much before sorting, so that neighbours change
)


@dataclass(frozen=True)
class MicroBatch:
    """Clips that one process sends through the model together."""

    indices: tuple[int, ...]
    context: float  # seconds


@dataclass(frozen=True)
class Step:
    """One optimiser step: the clips of all its micro-batches on all processes, under one context."""

    number: int
    epoch: int
    indices: tuple[int, ...]
    context: float  # seconds

    def micro_batches(
        self, num_processes: int, process_index: int, *, accumulation: int, most_seconds: float
    ) -> list[MicroBatch]:
        """This process's share, in `accumulation` parts, or in as many more as `most_seconds` asks for.

        The clips are sorted by length, and a process takes every `num_processes`-th of them, so that all
        processes have about the same work. All get the same number of parts, as shared gradients need.

        Args:
            most_seconds: Audio seconds of a part, padding counted; a single clip may have more. Without a
                limit the few longest clips would set the peak of memory for the whole run.
        """
        own = self.indices[process_index::num_processes]
        clips_that_fit = max(1.0, min(len(own), most_seconds / self.context) // 1)
        parts = max(accumulation, math.ceil(len(own) / clips_that_fit))
        return [
            MicroBatch(tuple(part.tolist()), self.context)
            for part in np.array_split(np.asarray(own), min(parts, len(own)))
        ]


def dynamic_context(duration: float, grid: float) -> float:
    """Seconds of context for a clip: its duration and a short tail, rounded up to the grid, 30 at most."""
    steps = math.ceil(round((duration + TAIL) / grid, 6))
    return min(round(steps * grid, 6), FULL_CONTEXT)


def steps_per_epoch(num_clips: int, batch_size: int) -> int:
    """Optimiser steps in which every clip is seen once; the last one is filled up with clips drawn again."""
    return math.ceil(num_clips / batch_size)


def plan_steps(
    durations: Sequence[float],
    *,
    batch_size: int,
    audio_context: str,
    jitter: Sequence[float],
    seed: int,
    first_step: int,
    last_step: int,
) -> Iterator[Step]:
    """Yield the optimiser steps `first_step` to `last_step` - 1, equal for one seed wherever it starts.

    Args:
        durations: Seconds of every clip of the training split.
        batch_size: Clips of an optimiser step over all processes and micro-batches.
        audio_context: "dynamic", or "full" for 30 s always.
        jitter: Extra silence in seconds; each step draws one value with equal chance.
        seed: Decides the order of every epoch and the jitter of every step.
    """
    per_epoch = steps_per_epoch(len(durations), batch_size)
    for epoch in range(first_step // per_epoch, math.ceil(last_step / per_epoch)):
        batches = _order_epoch(np.asarray(durations), batch_size, seed, epoch)
        for number in range(max(first_step, epoch * per_epoch), min(last_step, (epoch + 1) * per_epoch)):
            indices = batches[number - epoch * per_epoch]
            longest = max(durations[index] for index in indices)
            context = FULL_CONTEXT
            if audio_context == "dynamic":
                extra = float(np.random.default_rng((seed, 1, number)).choice(jitter))
                context = dynamic_context(longest + extra, TRAINING_GRID)
            yield Step(number, epoch, indices, context)


def _order_epoch(durations: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[tuple[int, ...]]:
    """Shuffle the clips, sort pools of them by blurred length, cut them into batches, shuffle these."""
    random = np.random.default_rng((seed, 0, epoch))
    order = random.permutation(len(durations))
    missing = -len(order) % batch_size
    order = np.concatenate([order, np.resize(random.permutation(len(durations)), missing)])
    batches = []
    for start in range(0, len(order), POOL_BATCHES * batch_size):
        pool = order[start : start + POOL_BATCHES * batch_size]
        blur = np.exp(random.uniform(-LENGTH_NOISE, LENGTH_NOISE, len(pool)))
        pool = pool[np.argsort(durations[pool] * blur, kind="stable")]
        batches += [tuple(batch.tolist()) for batch in pool.reshape(-1, batch_size)]
    return [batches[index] for index in random.permutation(len(batches))]
