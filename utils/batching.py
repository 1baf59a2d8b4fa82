"""Which examples make up each optimiser step, and how many seconds of audio context the encoder gets.

Whisper's encoder has no padding mask, so a clip's encoding depends on the context it is given. Hence in
training one context for all micro-batches and processes of an optimiser step; and in decoding a context that
follows from the utterance's own duration alone, never from its neighbours.

A plan follows from the seed and the examples alone: it is the same wherever it is started from, and however
many processes share its steps.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from utils.silence import seconds_of_work

FULL_CONTEXT = 30.0  # seconds: the window Whisper was trained on
TRAINING_GRID = 0.1  # seconds: contexts of training steps are multiples of this
DECODING_GRID = 0.5  # seconds: coarser, so that clips of nearly the same length share a batch
TAIL = 0.1  # seconds of silence that always follow the longest clip
GROUP_BATCHES = 4  # of clips that share a fixed context, at most; more mix better, and are padded more
SHORTEST_SHARE = 0.75  # of a fixed context: a step of clips that are all shorter has one of its own
POOL_BATCHES = (
    64  # examples of so many steps are sorted by length together; between pools the order stays random
)
LENGTH_NOISE = 0.05  # the share by which lengths are blurred before sorting, so that neighbours change


@dataclass(frozen=True)
class Example:
    """What the model sees as one clip in one epoch, drawn before any audio is read.

    Usually one row of the training split; several when rows are stitched; none for a window without speech.
    """

    rows: tuple[int, ...]
    duration: float  # seconds, after `speed`
    num_targets: int  # label tokens that are predicted
    offsets: tuple[float, ...] = (0.0,)  # seconds at which each row's audio begins
    speed: float = 1.0
    with_timestamps: bool = False
    with_previous: bool = False  # the text before is given to the decoder
    seed: tuple[int, ...] = ()  # of all that is random about its audio
    context: float | None = None  # seconds; the same in every epoch, see `fixed_contexts`
    language: str | None = None  # given to the decoder where there is no row to take it from


@dataclass(frozen=True)
class StepSize:
    """How much an optimiser step holds, over all its micro-batches and processes."""

    clips: int | None = None  # exactly so many, or
    audio_seconds: float | None = None  # at most so many that the encoder works on, but for jitter, and
    label_tokens: int | None = None  # at most so many, padding counted
    silence_run: int = 0  # how the silence behind the clips is condensed, see utils/silence.py

    def __str__(self) -> str:
        if self.clips is not None:
            return f"{self.clips} clips"
        tokens = f" or {self.label_tokens} label tokens" if self.label_tokens else ""
        return f"up to {self.audio_seconds:g} s of audio{tokens}"


@dataclass(frozen=True)
class MicroBatch:
    """Examples that one process sends through the model together."""

    examples: tuple[Example, ...]
    context: float  # seconds
    is_filler: bool = False  # weighs nothing; it only keeps the processes in step


@dataclass(frozen=True)
class Step:
    """One optimiser step: the examples of all its micro-batches on all processes, under one context."""

    number: int
    epoch: int
    examples: tuple[Example, ...]
    context: float  # seconds
    work: float  # seconds that the encoder works on for each example: its context and condensed silence

    @property
    def num_targets(self) -> int:
        """Tokens that the loss of the step is the mean of."""
        return sum(example.num_targets for example in self.examples)

    @property
    def audio_seconds(self) -> float:
        """Of its clips, padding not counted."""
        return sum(example.duration for example in self.examples)

    @property
    def padded_seconds(self) -> float:
        """Of all contexts."""
        return self.context * len(self.examples)

    @property
    def encoder_seconds(self) -> float:
        """What the encoder works on."""
        return self.work * len(self.examples)

    def micro_batches(
        self,
        num_processes: int,
        process_index: int,
        *,
        accumulation: int,
        clips_that_fit: Callable[[float], int],
    ) -> list[MicroBatch]:
        """This process's share, in `accumulation` parts, or in as many more as memory asks for.

        The examples are sorted by length, and a process takes every `num_processes`-th of them, so that all
        processes have about the same work. All get the same number of parts, as shared gradients need; one
        that has too few examples for that fills up with parts that weigh nothing.

        Args:
            clips_that_fit: From the context of the step to the most clips of a part. Without a limit the few
                longest clips would set the peak of memory for the whole run.
        """
        largest = math.ceil(len(self.examples) / num_processes)
        parts = min(largest, max(accumulation, math.ceil(largest / max(1, clips_that_fit(self.context)))))
        own = self.examples[process_index::num_processes]
        shares = np.array_split(np.arange(len(own)), min(parts, len(own))) if own else []
        filler = MicroBatch(self.examples[:1], self.context, is_filler=True)
        filled = [MicroBatch(tuple(own[index] for index in share), self.context) for share in shares]
        return filled + [filler] * (parts - len(filled))


def dynamic_context(duration: float, grid: float) -> float:
    """Seconds of context for a clip: its duration and a short tail, rounded up to the grid, 30 at most."""
    steps = math.ceil(round((duration + TAIL) / grid, 6))
    return min(round(steps * grid, 6), FULL_CONTEXT)


class StepPlan:
    """The optimiser steps of a run, without end.

    Args:
        draw_examples: From the number of an epoch to its examples, always the same for one number.
        size: Of a step.
        audio_context: "dynamic", or "full" for 30 s always.
        jitter: Extra silence in seconds; each step draws one value with equal chance.
        seed: Decides the order of every epoch and the jitter of every step.
    """

    def __init__(
        self,
        draw_examples: Callable[[int], Sequence[Example]],
        size: StepSize,
        *,
        audio_context: str,
        jitter: Sequence[float],
        seed: int,
    ) -> None:
        self._draw_examples, self.size, self._seed = draw_examples, size, seed
        self.audio_context, self.jitter = audio_context, tuple(jitter)
        self._epoch = lru_cache(maxsize=2)(self._order)  # the reader of audio runs ahead of the training

    def _order(self, epoch: int) -> tuple[Sequence[Example], list[list[int]]]:
        examples = self._draw_examples(epoch)
        random = np.random.default_rng((self._seed, 0, epoch))
        if examples[0].context is not None:
            return examples, order_fixed_batches(examples, self.size, random)
        return examples, order_batches(examples, self.size, random, audio_context=self.audio_context)

    def count_steps(self, num_epochs: float) -> int:
        """Steps of so many epochs; of the last, begun one its share, rounded up."""
        whole = math.ceil(num_epochs)
        counts = [len(self._epoch(epoch)[1]) for epoch in range(whole)]
        return sum(counts[:-1]) + math.ceil(counts[-1] * (num_epochs - whole + 1))

    def steps(self, first: int, last: int) -> Iterator[Step]:
        """Yield steps `first` to `last` - 1."""
        start, epoch = 0, 0
        while start < last:
            examples, batches = self._epoch(epoch)
            for number in range(max(first, start), min(last, start + len(batches))):
                chosen = tuple(examples[index] for index in batches[number - start])
                context = self._context_of(number, chosen)
                yield Step(number, epoch, chosen, context, seconds_of_work(context, self.size.silence_run))
            start, epoch = start + len(batches), epoch + 1

    def _context_of(self, number: int, examples: Sequence[Example]) -> float:
        if examples[0].context is not None:
            return examples[0].context
        extra = float(np.random.default_rng((self._seed, 1, number)).choice(self.jitter))
        return _context_for(max(example.duration for example in examples) + extra, self.audio_context)


def order_batches(
    examples: Sequence[Example],
    size: StepSize,
    random: np.random.Generator,
    *,
    audio_context: str = "dynamic",
) -> list[list[int]]:
    """Shuffle the examples, sort pools of them by blurred length, cut these into batches, shuffle these.

    With a number of clips the last batch is filled up with examples drawn again; with seconds or tokens it
    stays smaller.

    Args:
        examples: In any order.
        size: Of a batch.
        random: Decides the order.
        audio_context: "dynamic", or "full" where the encoder gets 30 s for every clip.

    Returns:
        Indices into `examples`, those of a batch from short to long, about.
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
        cut = _cut(pool, examples, size, audio_context)
        if size.clips is None and start + pool_size < len(order):
            rest = np.array(cut.pop())  # not full yet: the next pool goes on with it
        batches += cut
    return [batches[index] for index in random.permutation(len(batches))]


def fixed_contexts(
    durations: Sequence[float], size: StepSize, *, audio_context: str, jitter: Sequence[float], seed: int
) -> list[float]:
    """One context in seconds for each clip, the same for the whole run.

    Each clip draws its own jitter. From the longest down, those for one to four steps share the context of
    the first, so that steps of one context can be filled, mostly with other neighbours every epoch.

    Args:
        durations: Of each clip.
        size: Of a step.
        audio_context: "dynamic", or "full" for 30 s always.
        jitter: Extra silence in seconds, drawn with equal chance.
        seed: Of the run.
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
    """The examples of an epoch, of one row each, in the context of that row."""
    return [replace(example, context=contexts[example.rows[0]]) for example in draw_examples(epoch)]


def order_fixed_batches(
    examples: Sequence[Example], size: StepSize, random: np.random.Generator
) -> list[list[int]]:
    """Shuffle the examples of each context, cut these into batches, shuffle all batches.

    The last batch of a context stays smaller where its examples do not fill it.

    Returns:
        Indices into `examples`.
    """
    contexts = np.array([example.context for example in examples])
    batches: list[list[int]] = []
    for context in np.unique(contexts):
        batches += _cut(random.permutation(np.flatnonzero(contexts == context)), examples, size)
    return [batches[index] for index in random.permutation(len(batches))]


def _context_for(longest: float, audio_context: str) -> float:
    """Seconds of context for the longest clip of a step."""
    return FULL_CONTEXT if audio_context == "full" else dynamic_context(longest, TRAINING_GRID)


def _typical_clips(examples: Sequence[Example], size: StepSize, audio_context: str) -> int:
    """About how many clips a batch will have."""
    if size.clips is not None:
        return size.clips
    mean_duration = sum(example.duration for example in examples) / len(examples)
    mean_context = FULL_CONTEXT if audio_context == "full" else TAIL + mean_duration
    mean_tokens = sum(example.num_targets for example in examples) / len(examples)
    by_seconds = (size.audio_seconds or math.inf) / seconds_of_work(mean_context, size.silence_run)
    return max(1, int(min(by_seconds, (size.label_tokens or math.inf) / mean_tokens)))


def _cut(
    pool: np.ndarray, examples: Sequence[Example], size: StepSize, audio_context: str = "dynamic"
) -> list[list[int]]:
    """Cut examples that are sorted by length, or share a fixed context, into batches as large as `size`
    allows, of at least one.
    """
    most_clips, most_seconds, most_tokens = (
        limit or math.inf for limit in (size.clips, size.audio_seconds, size.label_tokens)
    )
    batches: list[list[int]] = [[]]
    longest, tokens = 0.0, 0
    for index in pool.tolist():
        example, clips = examples[index], len(batches[-1]) + 1
        longest, tokens = max(longest, example.duration), max(tokens, example.num_targets)
        context = example.context or _context_for(longest, audio_context)
        seconds = clips * seconds_of_work(context, size.silence_run)
        is_full = clips > most_clips or seconds > most_seconds or clips * tokens > most_tokens
        if is_full and batches[-1]:
            batches.append([])
            longest, tokens = example.duration, example.num_targets
        batches[-1].append(index)
    return batches
