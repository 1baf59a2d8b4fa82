"""Estimate the time, memory and disk space of a run from a few steps."""

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
    """A step and the seconds it took."""

    step: Step
    seconds: float


@dataclass(frozen=True)
class Disk:
    """The files that a run writes, in bytes."""

    checkpoint: int
    model: int  # one model folder, such as final/
    encoder_states: int  # cache that is deleted at the end of training
    fullest: int  # peak: a new checkpoint is saved before the oldest is deleted


@dataclass(frozen=True)
class Estimate:
    """The estimate of a run."""

    steps_per_epoch: int
    total_steps: int
    training_seconds: float
    evaluation_seconds: float
    peak_bytes: int
    disk: Disk
    free_bytes: int


def pick_steps(steps: Sequence[Step], number: int) -> list[Step]:
    """Choose the steps to time.

    The first is the one with the most work. The others are spread evenly by their work.
    """
    by_work = sorted(steps, key=lambda step: (step.encoder_seconds, step.num_targets))
    places = np.linspace(0, len(by_work) - 1, min(number, len(by_work))).round().astype(int)
    return [by_work[place] for place in reversed(list(dict.fromkeys(places.tolist())))]


def estimate_seconds(timed: Sequence[TimedStep], steps: Sequence[Step]) -> float:
    """Estimate the time of `steps` in seconds from the steps that were timed.

    The model is a line, fitted by least squares: a fixed cost per step for the update, and a cost per second
    of encoder input. Both costs are at least 0.
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
    """Estimate the size of the files of a run, without logs.

    Args:
        model: The model. `requires_grad` marks the trained parameters.
        checkpoints: Number of checkpoints to keep. 0 if none are saved.
        models: Number of model folders: best/, final/, snapshots, interpolated/.
        moment_bytes: Bytes of optimiser state for each trained weight.
        adapter_only: Whether the files hold only the trained weights.
        encoder_states: Bytes of cached encoder outputs. 0 if there is no cache.
    """
    numbers = [(true_size(p), p.element_size(), p.requires_grad) for p in model.parameters()]
    trained = sum(count for count, _, is_trained in numbers if is_trained)
    weights = sum(count * size for count, size, is_trained in numbers if is_trained or not adapter_only)
    # for 16-bit weights DeepSpeed also keeps a 32-bit copy
    masters = sum(4 * count for count, size, is_trained in numbers if is_trained and size == 2)
    checkpoint = weights + masters + moment_bytes * trained
    kept = checkpoints + 1 if checkpoints else 0
    fullest = checkpoint * kept + weights * models + encoder_states
    return Disk(checkpoint, weights, encoder_states, fullest)


def estimate_table(estimate: Estimate, limit_bytes: int | None) -> Table:
    """Build a table of the estimate. `limit_bytes` is the memory limit, if it is known."""
    table = Table(title="Estimate", title_justify="left")
    table.add_column("what")
    table.add_column("estimate", justify="right")
    table.add_column("note")
    epochs = estimate.total_steps / estimate.steps_per_epoch
    table.add_row("steps per epoch", f"{estimate.steps_per_epoch:,}", "in the first epoch")
    table.add_row("total steps", f"{estimate.total_steps:,}", f"{epochs:.1f} epochs")
    table.add_row("training", format_seconds(estimate.training_seconds), "without start-up and saving")
    if estimate.evaluation_seconds:
        table.add_row("evaluations", format_seconds(estimate.evaluation_seconds), "with decoding")
    allowed = "" if limit_bytes is None else f"{limit_bytes / 1e9:.2f} GB allowed"
    table.add_row("peak memory", f"{estimate.peak_bytes / 1e9:.2f} GB", allowed)
    table.add_row("one checkpoint", f"{estimate.disk.checkpoint / 1e6:,.0f} MB", "")
    if estimate.disk.encoder_states:
        size = f"{estimate.disk.encoder_states / 1e6:,.0f} MB"
        table.add_row("encoder outputs", size, "deleted after training")
    room = f"{estimate.free_bytes / 1e9:,.1f} GB free"
    if estimate.disk.fullest > estimate.free_bytes:
        room += ": not enough. Lower save_total_limit or choose another output_dir"
    table.add_row("peak disk space", f"{estimate.disk.fullest / 1e6:,.0f} MB", room)
    return table


def format_seconds(seconds: float) -> str:
    """Format a duration, such as 48 s, 12 min or 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def count_evaluations(total_steps: int, interval: int, *, on_start: bool) -> int:
    """Count the evaluations: every `interval` steps, at the end, and before the first step if requested."""
    return (math.ceil(total_steps / interval) if interval else 0) + on_start
