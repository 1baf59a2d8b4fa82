"""What a run will take, from a few of its steps: time, memory, disk."""

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from utils.batching import Step


@dataclass(frozen=True)
class TimedStep:
    """A step that was really done."""

    step: Step
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """What a run will take."""

    steps_per_epoch: int
    total_steps: int
    training_seconds: float
    evaluation_seconds: float
    peak_bytes: int
    checkpoint_bytes: int
    disk_bytes: int  # at the fullest moment, checkpoints, best/, final/ and what may be kept besides
    free_bytes: int


def pick_steps(steps: Sequence[Step], number: int) -> list[Step]:
    """Steps to time: the one of the most work, and others spread evenly over the work of all."""
    by_work = sorted(steps, key=lambda step: (step.padded_seconds, step.num_targets))
    places = np.linspace(0, len(by_work) - 1, min(number, len(by_work))).round().astype(int)
    return [by_work[place] for place in reversed(list(dict.fromkeys(places.tolist())))]


def estimate_seconds(timed: Sequence[TimedStep], steps: Sequence[Step]) -> float:
    """Seconds of `steps`, by a line through the timed ones over their padded seconds.

    The line is fitted by least squares and has no negative part: a fixed cost for the update, and one for
    every second that the encoder works on.
    """
    work = np.array([item.step.padded_seconds for item in timed])
    seconds = np.array([item.seconds for item in timed])
    slope, fixed = 0.0, float(seconds.mean())
    if len(set(work.tolist())) > 1:
        slope, fixed = (float(value) for value in np.polyfit(work, seconds, 1))
    if fixed < 0:
        slope, fixed = float((work @ seconds) / (work @ work)), 0.0
    if slope < 0:
        slope, fixed = 0.0, float(seconds.mean())
    return sum(fixed + slope * step.padded_seconds for step in steps)


def checkpoint_bytes(weight_bytes: int, trained: int, moment_bytes: int, *, trained_only: bool) -> int:
    """Size of a checkpoint: weights and moments.

    Args:
        weight_bytes: Of the whole model.
        trained: Numbers that are trained.
        moment_bytes: That the optimiser keeps for each.
        trained_only: Whether the weights that are not trained are left out, as with an adapter.
    """
    weights = 4 * trained if trained_only else weight_bytes
    return weights + moment_bytes * trained


def disk_bytes(checkpoint: int, model: int, *, checkpoints: int, models: int) -> int:
    """The fullest moment: a new checkpoint is written before the oldest goes, `checkpoints` are kept.

    Args:
        checkpoint: Bytes of a checkpoint.
        model: Bytes of a model folder.
        checkpoints: That are kept; 0 where none is written.
        models: Folders of a model: best/, final/, snapshots, interpolated/.
    """
    return checkpoint * (checkpoints + 1 if checkpoints else 0) + model * models


def free_disk_bytes(folder: Path) -> int:
    """Room on the disk that a folder is on, or will be."""
    there = folder.resolve()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


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
    table.add_row("a checkpoint", f"{estimate.checkpoint_bytes / 1e6:,.0f} MB", "")
    room = f"{estimate.free_bytes / 1e9:,.1f} GB free"
    if estimate.disk_bytes > estimate.free_bytes:
        room += ": not enough. Lower save_total_limit or give another output_dir"
    table.add_row("disk, at the fullest", f"{estimate.disk_bytes / 1e6:,.0f} MB", room)
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
