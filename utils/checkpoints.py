"""Checkpoints that are written whole or not at all, found again, and verified before use."""

import dataclasses
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from accelerate import Accelerator

from utils.errors import UserError
from utils.files import move_into_place, write_json

STATE_FILE = "trainer_state.json"
PREFIX = "checkpoint-"


@dataclass
class TrainingState:
    """What a run must know to go on exactly where it stopped, beside what Accelerate saves."""

    step: int = 0  # optimiser steps done
    metric_for_best_model: str = "normalized_wer"  # what best_metric, first_metric and ranking hold
    best_metric: float | None = None
    best_step: int | None = None
    first_metric: float | None = None  # of the model before training
    evaluations_without_improvement: int = 0  # in a row, up to now
    ranking: list[tuple[int, float]] = field(default_factory=list)  # (step, metric) of the best evaluations
    order: str = ""  # running digest over the ids of all clips trained on, in order
    loss_sum: float = 0.0  # of target tokens since the last line of metrics.jsonl
    loss_tokens: int = 0
    audio_seconds: float = 0.0  # trained on since the start
    padded_seconds: float = 0.0  # the same with the silence that filled the audio contexts

    def judge_by(self, metric: str) -> None:
        """Take up the metric that the best is chosen by; what was best by another is forgotten."""
        if metric != self.metric_for_best_model:
            self.metric_for_best_model, self.evaluations_without_improvement = metric, 0
            self.best_metric = self.best_step = self.first_metric = None
            self.ranking = []

    def count_evaluation(self, value: float, threshold: float) -> bool:
        """Enter an evaluation of the current step; whether it is the best of those after a first step.

        Evaluations without improvement are counted as by transformers' `EarlyStoppingCallback`: a gain of no
        more than `threshold` makes a new best, but does not start the count anew.
        """
        if self.step == 0:
            self.first_metric = value
            return False
        best = self.best_metric
        is_improvement = best is None or best - value > threshold
        self.evaluations_without_improvement = (
            0 if is_improvement else self.evaluations_without_improvement + 1
        )
        if best is not None and value >= best:
            return False
        self.best_metric, self.best_step = value, self.step
        return True


def save_checkpoint(accelerator: Accelerator, output_dir: Path, state: TrainingState, keep: int) -> Path:
    """Write `checkpoint-<step>` (model, optimiser, schedule, random states), delete the oldest beyond `keep`.

    All processes call it. The folder takes its name only when every file in it is on disk.
    """
    folder = output_dir / f"{PREFIX}{state.step}"
    temporary = output_dir / f".{folder.name}.tmp"
    if accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(temporary))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        sizes = {str(file.relative_to(temporary)): file.stat().st_size for file in _files(temporary)}
        write_json(temporary / STATE_FILE, {"state": dataclasses.asdict(state), "files": sizes})
        move_into_place(temporary, folder)
        for old in sorted(output_dir.glob(f"{PREFIX}*"), key=checkpoint_step)[:-keep]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()
    return folder


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def checkpoint_step(folder: Path) -> int:
    """The step in a checkpoint folder's name, -1 if it has none."""
    match = re.fullmatch(PREFIX + r"(\d+)", folder.name)
    return int(match[1]) if match else -1


def find_checkpoint(output_dir: Path, resume_from_checkpoint: str | None) -> Path | None:
    """The checkpoint to go on from: the one named, or the newest whole one of `output_dir`, or none.

    Raises:
        UserError: The named checkpoint is not there or not whole, or `latest` finds none.
    """
    if resume_from_checkpoint not in (None, "latest"):
        folder = Path(str(resume_from_checkpoint))
        fault = _fault(folder)
        if fault:
            raise UserError(
                f"{folder}: {fault} Give another checkpoint, or `latest` for the newest whole one."
            )
        return folder
    for folder in sorted(output_dir.glob(f"{PREFIX}*"), key=checkpoint_step, reverse=True):
        fault = _fault(folder)
        if not fault:
            return folder
        print(f"{folder}: passed over: {fault}")
    if resume_from_checkpoint == "latest":
        raise UserError(
            f"{output_dir}: no whole checkpoint to resume from. Leave --resume_from_checkpoint out to start."
        )
    return None


def _fault(folder: Path) -> str:
    """What is wrong with a checkpoint; empty when it is whole."""
    try:
        sizes = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))["files"]
    except FileNotFoundError:
        return f"no {STATE_FILE} in it."
    except (OSError, ValueError, KeyError) as error:
        return f"{STATE_FILE} is not readable ({error})."
    for name, size in sizes.items():
        file = folder / name
        found = file.stat().st_size if file.is_file() else 0
        if found != size:
            return f"{name} has {found} bytes, expected {size}."
    return ""


def load_checkpoint(accelerator: Accelerator, folder: Path) -> TrainingState:
    """Give the prepared model, optimiser, schedule and random generators their saved state back."""
    accelerator.load_state(str(folder))
    saved = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))["state"]
    if "best_wer" in saved:  # written when normalised WER was the only choice
        saved["best_metric"] = saved.pop("best_wer")
        saved["padded_seconds"] = saved["audio_seconds"]
    saved["ranking"] = [(step, value) for step, value in saved.get("ranking", [])]
    return TrainingState(**saved)
