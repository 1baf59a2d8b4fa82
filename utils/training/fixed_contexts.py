"""Choose one context for each clip, the same in every epoch, so that its encoder output can be cached."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from utils.data.length_batches import GROUP_BATCHES, SHORTEST_SHARE, Example, StepSize, cut_into_steps
from utils.model.context import FULL_CONTEXT, TRAINING_GRID, dynamic_context
from utils.model.silence import seconds_of_work


def fixed_contexts(
    durations: Sequence[float], size: StepSize, *, audio_context: str, jitter: Sequence[float], seed: int
) -> list[float]:
    """Return one context in seconds for each clip. It stays the same for the whole run.

    Each clip draws its own jitter. Clips are then sorted, the longest first, and cut into groups. A group
    fills one to four steps, and all its clips get the context of the longest one. So each step can have clips
    of one context, and usually other clips in every epoch.

    Args:
        durations: Seconds of each clip.
        size: Size of a step.
        audio_context: "dynamic", or "full" for 30 s always.
        jitter: Values of additional silence in seconds. All are equally likely to be drawn.
        seed: Seed of the run.
    """
    extra = np.random.default_rng((seed, 5)).choice(np.asarray(jitter, dtype=float), len(durations))
    wanted = np.asarray(durations) + extra
    contexts = np.full(len(durations), FULL_CONTEXT)
    rest = np.argsort(-wanted, kind="stable")
    while audio_context != "full" and len(rest):
        context = dynamic_context(float(wanted[rest[0]]), TRAINING_GRID)
        work = seconds_of_work(context, size.silence_run)
        clips = size.clips or max(1, int((size.audio_seconds or 0) / work))
        firsts = wanted[rest[: GROUP_BATCHES * clips : clips]]  # the longest of each step
        group = clips * int(1 + np.count_nonzero(firsts[1:] > SHORTEST_SHARE * context))
        contexts[rest[:group]] = context
        rest = rest[group:]
    return contexts.tolist()


def draw_in_contexts(
    draw_examples: Callable[[int], Sequence[Example]], contexts: Sequence[float], epoch: int
) -> list[Example]:
    """Return the examples of an epoch (one row each) with the context of their row."""
    return [replace(example, context=contexts[example.rows[0]]) for example in draw_examples(epoch)]


def order_fixed_batches(
    examples: Sequence[Example], size: StepSize, random: np.random.Generator
) -> list[list[int]]:
    """Shuffle the examples of each context, cut them into batches, then shuffle all batches.

    The last batch of a context may be smaller.

    Returns:
        Indices into `examples`.
    """
    contexts = np.array([example.context for example in examples])
    batches: list[list[int]] = []
    for context in np.unique(contexts):
        batches += cut_into_steps(random.permutation(np.flatnonzero(contexts == context)), examples, size)
    return [batches[index] for index in random.permutation(len(batches))]
