"""Plan the optimiser steps: choose the examples of each step, and share them among the processes."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from utils.data.length_batches import Example, StepSize, context_for, order_batches
from utils.model.silence import seconds_of_work
from utils.training.fixed_contexts import order_fixed_batches


@dataclass(frozen=True)
class MicroBatch:
    """Examples that one process sends through the model together."""

    examples: tuple[Example, ...]
    context: float  # seconds
    is_filler: bool = False  # without loss: it only gives all processes the same number of micro-batches


@dataclass(frozen=True)
class Step:
    """One optimiser step.

    It has the examples of all micro-batches on all processes, which have the same context.
    """

    number: int
    epoch: int
    examples: tuple[Example, ...]
    context: float  # seconds
    work: float  # seconds of encoder input per example: its context and condensed silence

    @property
    def num_targets(self) -> int:
        """Number of target tokens. The loss of the step is the mean over them."""
        return sum(example.num_targets for example in self.examples)

    @property
    def audio_seconds(self) -> float:
        """Seconds of audio, without padding."""
        return sum(example.duration for example in self.examples)

    @property
    def padded_seconds(self) -> float:
        """Seconds of audio with padding: the sum of the contexts of all examples."""
        return self.context * len(self.examples)

    @property
    def encoder_seconds(self) -> float:
        """Seconds of encoder input."""
        return self.work * len(self.examples)

    def micro_batches(
        self,
        num_processes: int,
        process_index: int,
        *,
        accumulation: int,
        clips_that_fit: Callable[[float], int],
    ) -> list[MicroBatch]:
        """Split this process's share into `accumulation` micro-batches, or more if memory requires it.

        The examples are sorted by length, and a process takes every `num_processes`-th of them, so that all
        processes have about the same work. To exchange gradients, all processes need the same number of
        micro-batches. A process with too few examples adds micro-batches that have no loss.

        Args:
            num_processes: Number of processes.
            process_index: Index of this process.
            accumulation: Smallest number of micro-batches.
            clips_that_fit: Function from the context of the step to the largest number of clips in a
                micro-batch. Without this limit, a few long clips would decide the peak memory of the whole
                run.
        """
        largest = math.ceil(len(self.examples) / num_processes)
        parts = min(largest, max(accumulation, math.ceil(largest / max(1, clips_that_fit(self.context)))))
        own = self.examples[process_index::num_processes]
        shares = np.array_split(np.arange(len(own)), min(parts, len(own))) if own else []
        filler = MicroBatch(self.examples[:1], self.context, is_filler=True)
        filled = [MicroBatch(tuple(own[index] for index in share), self.context) for share in shares]
        return filled + [filler] * (parts - len(filled))


class StepPlan:
    """The endless sequence of optimiser steps of a run.

    Args:
        draw_examples: Function from the number of an epoch to its examples. The same number always gives the
            same examples.
        size: Size of a step.
        audio_context: "dynamic", or "full" for 30 s always.
        jitter: Values of additional silence in seconds. Each step draws one of them; all are equally likely.
        seed: Seed for the order of every epoch and the jitter of every step.
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
        self._epoch = lru_cache(maxsize=2)(self._order)  # two: workers may read the next epoch already
        self._sizes: dict[int, int] = {}  # steps of each epoch that was drawn

    def _order(self, epoch: int) -> tuple[Sequence[Example], list[list[int]]]:
        examples = self._draw_examples(epoch)
        random = np.random.default_rng((self._seed, 0, epoch))
        if examples[0].context is not None:
            return examples, order_fixed_batches(examples, self.size, random)
        return examples, order_batches(examples, self.size, random, audio_context=self.audio_context)

    def count_steps(self, num_epochs: float) -> int:
        """Count the steps of `num_epochs` epochs. The number of steps of a partial epoch is rounded up."""
        whole = math.ceil(num_epochs)
        counts = [self._size_of(epoch) for epoch in range(whole)]
        return sum(counts[:-1]) + math.ceil(counts[-1] * (num_epochs - whole + 1))

    def epochs_after(self, num_steps: int) -> float:
        """Return how many epochs the first `num_steps` steps are, such as 1.5."""
        epoch, left = 0, num_steps
        while left > self._size_of(epoch):
            left -= self._size_of(epoch)
            epoch += 1
        return epoch + left / self._size_of(epoch)

    def _size_of(self, epoch: int) -> int:
        if epoch not in self._sizes:
            self._sizes[epoch] = len(self._epoch(epoch)[1])
        return self._sizes[epoch]

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
        return context_for(max(example.duration for example in examples) + extra, self.audio_context)
