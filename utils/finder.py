"""The largest micro-batch that memory holds, found by measuring on this device before training.

For a few audio contexts real forward and backward passes are run with made-up clips; their peaks lie on a
line over the number of clips, and the line says how many fit. NeMo's OOMptimizer (pull request 9763 of
NVIDIA/NeMo) measures bucket by bucket with made-up batches too, and Accelerate's `find_executable_batch_size`
halves the batch when memory runs out; both go by failures, which under a cgroup would be the end of the
process. Here a size is tried only if the line says that it fits.
"""

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import gather_object
from torch import nn

from utils.audio import SAMPLE_RATE
from utils.batching import FULL_CONTEXT, TRAINING_GRID, StepPlan, dynamic_context
from utils.collators import Batch
from utils.errors import UserError
from utils.examples import TrainingClips
from utils.files import write_json
from utils.memory import (
    Limit,
    Usage,
    is_out_of_memory,
    memory_limits,
    read_usage,
    return_freed_memory,
    watching_peak,
)

EDGE_RATIO = 2.0  # of one measured context to the next
FIRST_SECONDS = 16.0  # padded, of the second measurement at a context; the first has one clip
GROWTH = 4  # a measurement has at most so many times the clips of the one before


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
            f"allowed {_describe(self.limit)}."
        )


def save_found(found: FoundClips, path: Path, saving: str) -> None:
    """Keep what was found, so that a run that goes on has micro-batches of the same size.

    Args:
        saving: How memory was saved when it was measured, in words.
    """
    write_json(path, asdict(found) | {"saving": saving})


def read_found(path: Path, accelerator: Accelerator, saving: str) -> FoundClips | None:
    """What was saved, if it is there on all processes, was measured alike and still fits into all memory."""
    found = None
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        if saved["saving"] != saving:
            raise ValueError(f"measured with {saved['saving']}")
        found = FoundClips(
            tuple(saved["edges"]), tuple(saved["clips"]), Limit(**saved["limit"]), int(saved["peak_bytes"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        pass
    limits = memory_limits(accelerator.device, _neighbours(accelerator)) if found else []
    fits = found is not None and all(
        found.peak_bytes <= limit.size_bytes for limit in limits if limit.kind == found.limit.kind
    )
    return found if all(gather_object([fits])) else None


def _neighbours(accelerator: Accelerator) -> int:
    """Processes of the run on this machine, itself among them."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))


def _grid_index(context: float) -> int:
    return math.ceil(round(context / TRAINING_GRID, 6))


# ---- what the data may ask for -----------------------------------------------------------------------------


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


# ---- measuring ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Probe:
    """What is measured: passes of the prepared model over made-up clips."""

    accelerator: Accelerator
    model: nn.Module
    backward: Callable[[Batch], torch.Tensor]  # forward and backward of one micro-batch, nothing exchanged
    optimizer: torch.optim.Optimizer
    moment_bytes: int  # that the optimiser holds for each trained number

    @property
    def trained(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def measure(self, clips: int, shape: Shape) -> Usage | None:
        """The peak of one pass; None if memory ran out."""
        device = self.accelerator.device
        return_freed_memory()
        try:
            with watching_peak(device) as peak:
                self.backward(made_up_batch(clips, shape).to(device))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return None
        return peak.usage


def made_up_batch(clips: int, shape: Shape) -> Batch:
    """Faint noise and labels in which every token counts."""
    generator = torch.Generator().manual_seed(0)
    waveforms = torch.randn((clips, round(shape.context * SAMPLE_RATE)), generator=generator) / 100
    tokens = torch.randint(0, 50, (clips, shape.tokens), generator=generator)
    seeds = tuple((0, number) for number in range(clips))
    return Batch(waveforms, tokens, tokens, (shape.context,) * clips, seeds, shape.context)


@contextlib.contextmanager
def leaving_no_trace(probe: Probe) -> Iterator[None]:
    """Give gradients and random states back as they were; hold what the optimiser will hold meanwhile."""
    trained = probe.trained
    gradients = [parameter.grad for parameter in trained]
    cuda = [probe.accelerator.device] if probe.accelerator.device.type == "cuda" else []
    held = _stand_in(probe, trained)
    with torch.random.fork_rng(devices=cuda):
        try:
            for parameter in trained:
                parameter.grad = None
            yield
        finally:
            for parameter, gradient in zip(trained, gradients, strict=True):
                parameter.grad = gradient
            del held
            return_freed_memory()


def _stand_in(probe: Probe, trained: Sequence[nn.Parameter]) -> torch.Tensor:
    """As many bytes as moments and shared gradients will take, written to, so that they are really there."""
    size = 0
    if not probe.optimizer.state:
        size += probe.moment_bytes * sum(parameter.numel() for parameter in trained)
    if probe.accelerator.num_processes > 1:  # the buckets in which processes exchange gradients
        size += sum(parameter.numel() * parameter.element_size() for parameter in trained)
    return torch.ones(size, dtype=torch.uint8, device=probe.accelerator.device)


# ---- finding -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Edge:
    """What was measured at one context: for every limit a line over the number of clips."""

    shape: Shape
    base: np.ndarray  # (limits,) bytes
    per_clip: np.ndarray  # (limits,) bytes
    most: int  # clips; with one more memory ran out, or none needs more

    @classmethod
    def through(
        cls, shape: Shape, one: tuple[int, np.ndarray], other: tuple[int, np.ndarray], most: int
    ) -> "Edge":
        slope = np.maximum(0.0, (other[1] - one[1]) / (other[0] - one[0]))
        return cls(shape, np.maximum(one[1] - slope * one[0], other[1] - slope * other[0]), slope, most)

    def stretched_to(self, shape: Shape) -> "Edge":
        """A guess from above for longer clips: as if each took more in the larger of the two proportions."""
        factor = max(shape.context / self.shape.context, shape.tokens / self.shape.tokens)
        return Edge(shape, self.base, self.per_clip * factor, self.most)

    def fits(self, sizes: np.ndarray) -> int:
        """Clips within limits of these sizes in bytes."""
        return min(self.most, clips_within(sizes - self.base, self.per_clip))


def clips_within(room: np.ndarray, per_clip: np.ndarray) -> int:
    """Clips for which there is room under every limit; below 0 where there is none for what comes first."""
    return math.floor((room / np.maximum(per_clip, 1.0)).min())


def find_clips_that_fit(probe: Probe, demand: Demand) -> FoundClips:
    """Measure on every process; all get the smallest of the numbers found.

    Args:
        probe: The model in training mode, before its first step or after loading a checkpoint.
        demand: Of the data.

    Raises:
        UserError: Not even one clip fits on some process, or this cannot be measured here.
    """
    accelerator = probe.accelerator
    if accelerator.distributed_type in (DistributedType.DEEPSPEED, DistributedType.FSDP):
        raise UserError(
            f"auto_find_batch_size under {accelerator.distributed_type.value}: what a process holds of a "
            "split model changes within a step. Set micro_batch_seconds."
        )
    if accelerator.device.type not in ("cpu", "cuda"):
        raise UserError(
            f"auto_find_batch_size on {accelerator.device.type}: it measures CPUs and GPUs of CUDA or ROCm. "
            "Set micro_batch_seconds."
        )
    return_freed_memory()
    accelerator.wait_for_everyone()
    limits = memory_limits(accelerator.device, _neighbours(accelerator))
    accelerator.wait_for_everyone()
    try:
        with leaving_no_trace(probe):
            answer: FoundClips | UserError = _find_here(probe, demand, limits)
    except Exception as error:
        if isinstance(error, UserError):
            answer = error
        elif is_out_of_memory(error):  # the optimiser's moments alone are too much
            answer = _too_little(limits, demand.shape(demand.edges[0]), None)
        else:
            raise
    answers = gather_object([answer])
    for found in answers:
        if isinstance(found, UserError):
            raise found
    tightest = min(answers, key=lambda found: found.clips)
    fewest = tuple(min(column) for column in zip(*(found.clips for found in answers), strict=True))
    return replace(tightest, clips=fewest)


def _find_here(probe: Probe, demand: Demand, limits: Sequence[Limit]) -> FoundClips:
    first = demand.shape(demand.edges[0])
    gradients = sum(parameter.numel() * parameter.element_size() for parameter in probe.trained)
    needed = _figures(read_usage(probe.accelerator.device), limits) + gradients
    if (needed > [limit.size_bytes for limit in limits]).any():
        raise _too_little(limits, first, needed)
    if probe.measure(1, first) is None:  # from here on libraries are loaded and gradients are there
        raise _too_little(limits, first, None)
    edges: list[Edge] = []
    for context in demand.edges:
        guess = edges[-1].stretched_to(demand.shape(context)) if edges else None
        edges.append(_measure_edge(probe, demand.shape(context), demand.largest, limits, guess))
    return _read_off(demand, edges, _bytes_of_a_token(probe, edges[-1], limits), limits)


def _measure_edge(
    probe: Probe, shape: Shape, largest: int, limits: Sequence[Limit], guess: Edge | None
) -> Edge:
    """One clip, a few, and then as many as the line through these promises room for.

    Raises:
        UserError: Not one clip fits.
    """
    sizes = np.array([limit.size_bytes for limit in limits], dtype=float)
    if guess is not None and guess.fits(sizes) < 1:
        raise _too_little(limits, shape, guess.base + guess.per_clip)
    resting = _figures(read_usage(probe.accelerator.device), limits)
    usage = probe.measure(1, shape)
    if usage is None:
        raise _too_little(limits, shape, None)
    one = (1, _figures(usage, limits))
    edge = Edge.through(shape, (0, resting), one, largest)  # steeper than it is: nothing is shared yet
    if edge.fits(sizes) < 1:
        raise _too_little(limits, shape, one[1])
    clips = min(edge.fits(sizes), max(2, round(FIRST_SECONDS / shape.context)))
    while clips > 1:
        usage = probe.measure(clips, shape)
        if usage is None:
            return replace(edge, most=clips - 1)
        edge = Edge.through(shape, one, (clips, _figures(usage, limits)), largest)
        aim = min(edge.fits(sizes), GROWTH * clips)
        if aim <= clips:
            break
        clips = aim
    return edge


def _figures(usage: Usage, limits: Sequence[Limit]) -> np.ndarray:
    return np.array([getattr(usage, limit.kind) for limit in limits], dtype=float)


def _bytes_of_a_token(probe: Probe, edge: Edge, limits: Sequence[Limit]) -> np.ndarray:
    """What one more label token of a clip takes, (limits,); from a pass with half as many."""
    fewer = edge.shape.tokens // 2
    clips = max(1, min(edge.most, round(FIRST_SECONDS / edge.shape.context)))
    usage = probe.measure(clips, replace(edge.shape, tokens=fewer)) if fewer else None
    if usage is None:
        return np.zeros(len(limits))
    saved = edge.base + edge.per_clip * clips - _figures(usage, limits)
    per_token = np.maximum(0.0, saved) / (clips * (edge.shape.tokens - fewer))
    return np.minimum(per_token, edge.per_clip / edge.shape.tokens)


def _read_off(
    demand: Demand, edges: Sequence[Edge], token_bytes: np.ndarray, limits: Sequence[Limit]
) -> FoundClips:
    """The clips that fit into every context of the grid, between the measured ones by straight lines."""
    contexts = [edge.shape.context for edge in edges]
    bases = np.array([edge.base for edge in edges])
    without_tokens = np.array([edge.per_clip - token_bytes * edge.shape.tokens for edge in edges])
    sizes = np.array([limit.size_bytes for limit in limits], dtype=float)
    clips, peaks = [], []
    for index, tokens in enumerate(demand.tokens):
        at = index * TRAINING_GRID
        base = np.array([np.interp(at, contexts, column) for column in bases.T])
        per_clip = np.array([np.interp(at, contexts, column) for column in without_tokens.T])
        per_clip += token_bytes * tokens
        most = min(edge.most for edge in edges if edge.shape.context <= max(at, contexts[0]) + 1e-6)
        clips.append(max(1, min(most, clips_within(sizes - base, per_clip))))
        if at > contexts[0] - 1e-6:
            peaks.append(base + per_clip * clips[-1])
    highest = max(peaks, key=lambda peak: float((peak / sizes).max()))
    tightest = int((highest / sizes).argmax())
    return FoundClips(tuple(contexts), tuple(clips), limits[tightest], int(highest[tightest]))


def _describe(limit: Limit) -> str:
    return f"{limit.size_bytes / 1e6:,.0f} MB by {limit.name}"


def _too_little(limits: Sequence[Limit], shape: Shape, needed: np.ndarray | None) -> UserError:
    """Not one clip fits; `needed` is what it takes, (limits,), where that is known."""
    takes, allowed = "more", ", ".join(_describe(limit) for limit in limits)
    if needed is not None:
        tightest = int((needed / [limit.size_bytes for limit in limits]).argmax())
        takes, allowed = f"about {needed[tightest] / 1e6:,.0f} MB", _describe(limits[tightest])
    return UserError(
        f"auto_find_batch_size: not even one clip of {shape.context:g} s with {shape.tokens} label tokens "
        f"fits beside the model: {takes} needed, allowed {allowed}. Give --memory low, "
        "--gradient_checkpointing, --use_peft or a smaller model; or leave long clips out (--max_duration of "
        "preprocess.py)."
    )
