"""What a run will take, from a few of its steps: time, memory, disk."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table
from torch import nn

from utils.model.quantization import true_size
from utils.training.steps import Step


@dataclass(frozen=True)
class TimedStep:
    """A step that was really done."""

    step: Step
    seconds: float


@dataclass(frozen=True)
class Disk:
    """What a run writes, in bytes."""

    checkpoint: int
    model: int  # a folder such as final/
    encoder_states: int  # kept until training ends
    fullest: int  # a new checkpoint is written before the oldest goes


@dataclass(frozen=True)
class Estimate:
    """What a run will take."""

    steps_per_epoch: int
    total_steps: int
    training_seconds: float
    evaluation_seconds: float
    peak_bytes: int
    disk: Disk
    free_bytes: int


def pick_steps(steps: Sequence[Step], number: int) -> list[Step]:
    """Steps to time: the one of the most work, and others spread evenly over the work of all."""
    by_work = sorted(steps, key=lambda step: (step.encoder_seconds, step.num_targets))
    places = np.linspace(0, len(by_work) - 1, min(number, len(by_work))).round().astype(int)
    return [by_work[place] for place in reversed(list(dict.fromkeys(places.tolist())))]


def estimate_seconds(timed: Sequence[TimedStep], steps: Sequence[Step]) -> float:
    """Seconds of `steps`, by a line through the timed ones over what the encoder works on.

    The line is fitted by least squares and has no negative part: a fixed cost for the update, and one for
    every second that the encoder works on.
    """
    work = np.array([item.step.encoder_seconds for item in timed])
    seconds = np.array([item.seconds for item in timed])
    slope, fixed = 0.0, float(seconds.mean())
    if len(set(work.tolist())) > 1:
        slope, fixed = (float(value) for value in np.polyfit(work, seconds, 1))
    if fixed < 0:
        slope, fixed = float((work @ seconds) / (work @ work)), 0.0
    if slope < 0:
        slope, fixed = 0.0, float(seconds.mean())
    return sum(fixed + slope * step.encoder_seconds for step in steps)


def estimate_disk(
    model: nn.Module,
    *,
    checkpoints: int,
    models: int,
    moment_bytes: int,
    adapter_only: bool,
    encoder_states: int,
) -> Disk:
    """Size of what a run writes, but for logs.

    Args:
        model: As it is trained.
        checkpoints: That are kept; 0 where none is written.
        models: Model folders: best/, final/, snapshots, interpolated/.
        moment_bytes: That the optimiser keeps for each trained number.
        adapter_only: Whether what is not trained is left out.
        encoder_states: Bytes of a frozen encoder's outputs; 0 where none are kept.
    """
    numbers = [(true_size(p), p.element_size(), p.requires_grad) for p in model.parameters()]
    trained = sum(count for count, _, is_trained in numbers if is_trained)
    weights = sum(count * size for count, size, is_trained in numbers if is_trained or not adapter_only)
    # beside weights in 16 bits DeepSpeed keeps them in 32
    masters = sum(4 * count for count, size, is_trained in numbers if is_trained and size == 2)
    checkpoint = weights + masters + moment_bytes * trained
    kept = checkpoints + 1 if checkpoints else 0
    fullest = checkpoint * kept + weights * models + encoder_states
    return Disk(checkpoint, weights, encoder_states, fullest)


def estimate_table(estimate: Estimate, limit_bytes: int | None) -> Table:
    """The estimate for people; `limit_bytes` is what memory allows, where that is known."""
    table = Table(title="Estimate", title_justify="left")
    table.add_column("what")
    table.add_column("estimate", justify="right")
    table.add_column("note")
    epochs = estimate.total_steps / estimate.steps_per_epoch
    table.add_row("steps of an epoch", f"{estimate.steps_per_epoch:,}", "of the first")
    table.add_row("steps in all", f"{estimate.total_steps:,}", f"{epochs:.1f} epochs")
    table.add_row("training", format_seconds(estimate.training_seconds), "without starting and saving")
    if estimate.evaluation_seconds:
        table.add_row("evaluations", format_seconds(estimate.evaluation_seconds), "by generation")
    allowed = "" if limit_bytes is None else f"{limit_bytes / 1e9:.2f} GB allowed"
    table.add_row("peak memory", f"{estimate.peak_bytes / 1e9:.2f} GB", allowed)
    table.add_row("a checkpoint", f"{estimate.disk.checkpoint / 1e6:,.0f} MB", "")
    if estimate.disk.encoder_states:
        size = f"{estimate.disk.encoder_states / 1e6:,.0f} MB"
        table.add_row("encoder outputs", size, "kept until the end of training")
    room = f"{estimate.free_bytes / 1e9:,.1f} GB free"
    if estimate.disk.fullest > estimate.free_bytes:
        room += ": not enough. Lower save_total_limit or give another output_dir"
    table.add_row("disk, at the fullest", f"{estimate.disk.fullest / 1e6:,.0f} MB", room)
    return table


def format_seconds(seconds: float) -> str:
    """Such as 48 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def count_evaluations(total_steps: int, interval: int, *, on_start: bool) -> int:
    """Evaluations every `interval` steps, at the end, and before the first step where asked for."""
    return (math.ceil(total_steps / interval) if interval else 0) + on_start
