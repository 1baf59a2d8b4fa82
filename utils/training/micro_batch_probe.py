"""Passes over made-up clips, from which the memory of a micro-batch is measured."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from utils.audio.flac import SAMPLE_RATE
from utils.model.context import TRAINING_GRID
from utils.runtime.allocator import return_freed_memory
from utils.runtime.errors import UserError
from utils.runtime.memory import Limit, Usage, read_usage, watching_peak
from utils.runtime.out_of_memory import is_out_of_memory
from utils.training.batches import Batch
from utils.training.micro_batch_demand import Demand, FoundClips, Shape, describe_fit

FIRST_SECONDS = 16.0  # padded, of the second measurement at a context; the first has one clip

GROWTH = 4  # a measurement has at most so many times the clips of the one before


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


def measure_edge(
    probe: Probe, shape: Shape, largest: int, limits: Sequence[Limit], guess: Edge | None
) -> Edge:
    """One clip, a few, and then as many as the line through these promises room for.

    Raises:
        UserError: Not one clip fits.
    """
    sizes = np.array([limit.size_bytes for limit in limits], dtype=float)
    if guess is not None and guess.fits(sizes) < 1:
        raise too_little(limits, shape, guess.base + guess.per_clip)
    resting = figures(read_usage(probe.accelerator.device), limits)
    usage = probe.measure(1, shape)
    if usage is None:
        raise too_little(limits, shape, None)
    one = (1, figures(usage, limits))
    edge = Edge.through(shape, (0, resting), one, largest)  # steeper than it is: nothing is shared yet
    if edge.fits(sizes) < 1:
        raise too_little(limits, shape, one[1])
    clips = min(edge.fits(sizes), max(2, round(FIRST_SECONDS / shape.context)))
    while clips > 1:
        usage = probe.measure(clips, shape)
        if usage is None:
            return replace(edge, most=clips - 1)
        edge = Edge.through(shape, one, (clips, figures(usage, limits)), largest)
        aim = min(edge.fits(sizes), GROWTH * clips)
        if aim <= clips:
            break
        clips = aim
    return edge


def figures(usage: Usage, limits: Sequence[Limit]) -> np.ndarray:
    return np.array([getattr(usage, limit.kind) for limit in limits], dtype=float)


def bytes_of_a_token(probe: Probe, edge: Edge, limits: Sequence[Limit]) -> np.ndarray:
    """What one more label token of a clip takes, (limits,); from a pass with half as many."""
    fewer = edge.shape.tokens // 2
    clips = max(1, min(edge.most, round(FIRST_SECONDS / edge.shape.context)))
    usage = probe.measure(clips, replace(edge.shape, tokens=fewer)) if fewer else None
    if usage is None:
        return np.zeros(len(limits))
    saved = edge.base + edge.per_clip * clips - figures(usage, limits)
    per_token = np.maximum(0.0, saved) / (clips * (edge.shape.tokens - fewer))
    return np.minimum(per_token, edge.per_clip / edge.shape.tokens)


def read_off(
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


def too_little(limits: Sequence[Limit], shape: Shape, needed: np.ndarray | None) -> UserError:
    """Not one clip fits; `needed` is what it takes, (limits,), where that is known."""
    takes, allowed = "more", ", ".join(describe_fit(limit) for limit in limits)
    if needed is not None:
        tightest = int((needed / [limit.size_bytes for limit in limits]).argmax())
        takes, allowed = f"about {needed[tightest] / 1e6:,.0f} MB", describe_fit(limits[tightest])
    return UserError(
        f"auto_find_batch_size: not even one clip of {shape.context:g} s with {shape.tokens} label tokens "
        f"fits beside the model: {takes} needed, allowed {allowed}. Give --memory low, "
        "--gradient_checkpointing, --use_peft or a smaller model; or leave long clips out (--max_duration of "
        "preprocess.py)."
    )
