"""Puts examples of similar length into batches. The result depends only on the seed and the epoch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.model.context import FULL_CONTEXT, TAIL, TRAINING_GRID, dynamic_context
from utils.model.silence import seconds_of_work
from utils.runtime.messages import counted

GROUP_BATCHES = 4  # most batches of clips that share a fixed context; more mix better, but need more padding

SHORTEST_SHARE = 0.75  # of a fixed context: if all clips of a step are shorter, the step gets its own context

POOL_BATCHES = 64  # steps whose examples are sorted by length together; the order between pools stays random

LENGTH_NOISE = 0.05  # the share by which lengths vary before sorting, so that neighbours change


@dataclass(frozen=True)
class Example:
    """One training clip of one epoch, chosen before its audio is read.

    It is made from one row of the training split, from several stitched rows, or from no row if it is a
    window without speech.
    """

    rows: tuple[int, ...]
    duration: float  # seconds, after `speed`
    num_targets: int  # label tokens to predict
    offsets: tuple[float, ...] = (0.0,)  # seconds at which the audio of each row begins
    is_cut: bool = False  # whether the last row goes on after the window
    speed: float = 1.0
    with_timestamps: bool = False
    with_previous: bool = False  # whether the decoder gets the previous text
    with_terms: bool = False  # whether it gets a prompt of listed terms
    seed: tuple[int, ...] = ()  # for everything random about its audio
    context: float | None = None  # seconds; the same in every epoch, see `fixed_contexts`
    language: str | None = None  # for the decoder, if there is no row with a language


@dataclass(frozen=True)
class StepSize:
    """The size of an optimiser step over all its micro-batches and processes."""

    clips: int | None = None  # exactly this number, or
    audio_seconds: float | None = None  # at most this number of seconds of encoder input, apart from jitter
    silence_run: int = 0  # how the silence after the clips is condensed, see utils/model/silence.py

    def __str__(self) -> str:
        if self.clips is not None:
            return counted(self.clips, "clip")
        return f"up to {self.audio_seconds:g} s of audio"


def order_batches(
    examples: Sequence[Example],
    size: StepSize,
    random: np.random.Generator,
    *,
    audio_context: str = "dynamic",
) -> list[list[int]]:
    """Shuffle the examples, and cut them into pools.

    Sort each pool by length with some noise, cut it into batches, and shuffle all batches. If `size` is a
    number of clips, the last batch is filled with examples that are drawn a second time. If it is a
    number of seconds, the last batch is smaller.

    Args:
        examples: In any order.
        size: Size of a batch.
        random: Random generator that decides the order.
        audio_context: "dynamic", or "full" if the encoder gets 30 s for every clip.

    Returns:
        Indices into `examples`, roughly from short to long within each batch.
    """
    durations = np.array([example.duration for example in examples])
    order = random.permutation(len(examples))
    if size.clips is not None:
        order = np.concatenate([order, np.resize(random.permutation(len(order)), -len(order) % size.clips)])
    pool_size = POOL_BATCHES * _typical_clips(examples, size, audio_context)
    batches: list[list[int]] = []
    rest = np.array([], dtype=np.int64)
    for start in range(0, len(order), pool_size):
        pool = np.concatenate([rest, order[start : start + pool_size]])
        blur = np.exp(random.uniform(-LENGTH_NOISE, LENGTH_NOISE, len(pool)))
        pool = pool[np.argsort(durations[pool] * blur, kind="stable")]
        cut = cut_into_steps(pool, examples, size, audio_context)
        if size.clips is None and start + pool_size < len(order):
            rest = np.array(cut.pop())  # not full yet: it continues in the next pool
        batches += cut
    return [batches[index] for index in random.permutation(len(batches))]


def context_for(longest: float, audio_context: str) -> float:
    """Return the seconds of context for the longest clip of a step."""
    return FULL_CONTEXT if audio_context == "full" else dynamic_context(longest, TRAINING_GRID)


def _typical_clips(examples: Sequence[Example], size: StepSize, audio_context: str) -> int:
    """Estimate how many clips a batch will have."""
    if size.clips is not None:
        return size.clips
    mean_duration = sum(example.duration for example in examples) / len(examples)
    mean_context = FULL_CONTEXT if audio_context == "full" else TAIL + mean_duration
    return max(1, int((size.audio_seconds or 0) / seconds_of_work(mean_context, size.silence_run)))


def cut_into_steps(
    pool: np.ndarray, examples: Sequence[Example], size: StepSize, audio_context: str = "dynamic"
) -> list[list[int]]:
    """Cut examples into batches as large as `size` allows. A batch has at least one example.

    The examples are sorted by length or share a fixed context.
    """
    most_clips, most_seconds = size.clips or math.inf, size.audio_seconds or math.inf
    batches: list[list[int]] = [[]]
    longest = 0.0
    for index in pool.tolist():
        example, clips = examples[index], len(batches[-1]) + 1
        longest = max(longest, example.duration)
        context = example.context or context_for(longest, audio_context)
        seconds = clips * seconds_of_work(context, size.silence_run)
        is_full = clips > most_clips or seconds > most_seconds
        if is_full and batches[-1]:
            batches.append([])
            longest = example.duration
        batches[-1].append(index)
    return batches
