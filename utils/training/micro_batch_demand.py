"""What micro-batches a run asks for: the longest labels of each audio context."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from accelerate import Accelerator

from utils.model.context import FULL_CONTEXT, TRAINING_GRID, dynamic_context
from utils.runtime.memory import Limit
from utils.training.clips import TrainingClips
from utils.training.steps import StepPlan

EDGE_RATIO = 2.0  # of one measured context to the next


@dataclass(frozen=True)
class Shape:
    """What a clip takes room for."""

    context: float  # seconds
    tokens: int  # that the decoder reads


@dataclass(frozen=True)
class Demand:
    """What the data may ask for: its contexts, and with each the longest labels that may come with it."""

    edges: tuple[float, ...]  # contexts to measure, rising, each at most twice the one before
    tokens: tuple[int, ...]  # for every multiple of the grid from 0 to the last edge
    largest: int  # clips that a micro-batch can have

    def shape(self, context: float) -> Shape:
        index = min(_grid_index(context), len(self.tokens) - 1)
        return Shape(context, self.tokens[index])


@dataclass(frozen=True)
class FoundClips:
    """The most clips of a micro-batch for each audio context; equal on all processes."""

    edges: tuple[float, ...]  # contexts that were measured, rising
    clips: tuple[int, ...]  # that fit, for every multiple of the grid from 0 to the last edge
    limit: Limit  # the one that is reached first
    peak_bytes: int  # expected of the largest micro-batch, in the figure that the limit is on

    def __call__(self, context: float) -> int:
        """The most clips in a context; in one longer than all measured its share of the last."""
        index = _grid_index(context)
        if index < len(self.clips):
            return self.clips[index]
        return max(1, int(self.clips[-1] * self.edges[-1] / context))

    def describe(self) -> str:
        found = ", ".join(f"{self(context)} of {context:g} s" for context in self.edges)
        return (
            f"Clips that fit into a micro-batch: {found}. Expected peak {self.peak_bytes / 1e6:,.0f} MB, "
            f"allowed {describe_fit(self.limit)}."
        )


def neighbours(accelerator: Accelerator) -> int:
    """Processes of the run on this machine, itself among them."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))


def _grid_index(context: float) -> int:
    return math.ceil(round(context / TRAINING_GRID, 6))


def demand_of_plan(clips: TrainingClips, plan: StepPlan, num_epochs: float, num_processes: int) -> Demand:
    """What the first epochs of a run may ask for; later ones draw from the same clips.

    Args:
        clips: The training split.
        plan: Of the steps.
        num_epochs: Of the run; at most three are looked at.
        num_processes: That share a step.
    """
    epochs = range(max(1, min(3, math.ceil(num_epochs))))
    examples = [example for epoch in epochs for example in clips.draw(epoch)]
    tokens = [len(clips.sequence(example).inputs) for example in examples]
    steps = plan.steps(0, plan.count_steps(len(epochs)))
    largest = max(math.ceil(len(step.examples) / num_processes) for step in steps)
    durations = [example.duration for example in examples]
    return demand_of(durations, tokens, audio_context=plan.audio_context, jitter=plan.jitter, largest=largest)


def demand_of(
    durations: Sequence[float],
    num_tokens: Sequence[int],
    *,
    audio_context: str,
    jitter: Sequence[float],
    largest: int,
) -> Demand:
    """The contexts that steps may have, and the longest labels in each.

    Args:
        durations: Of the examples of an epoch, or of several.
        num_tokens: That the decoder reads for each.
        audio_context: "dynamic" or "full".
        jitter: Extra silence in seconds that a step may get.
        largest: Clips that a micro-batch can have.
    """
    if audio_context == "full":
        return Demand((FULL_CONTEXT,), (max(num_tokens),) * (_grid_index(FULL_CONTEXT) + 1), largest)
    top = dynamic_context(max(durations) + max(jitter), TRAINING_GRID)
    bottom = dynamic_context(min(durations), TRAINING_GRID)
    edges = [top]
    while edges[-1] / EDGE_RATIO > bottom:
        edges.append(round(edges[-1] / EDGE_RATIO, 1))
    longest = [0] * (_grid_index(top) + 1)
    for duration, tokens in zip(durations, num_tokens, strict=True):
        index = _grid_index(dynamic_context(duration, TRAINING_GRID))
        longest[index] = max(longest[index], tokens)
    rising = [max(1, tokens) for tokens in accumulate(longest, max)]
    return Demand(tuple(reversed(edges)), tuple(rising), largest)


def describe_fit(limit: Limit) -> str:
    return f"{limit.size_bytes / 1e6:,.0f} MB by {limit.name}"
