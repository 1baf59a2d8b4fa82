"""Write the log of a run: metrics.jsonl, predictions, and trackers with the same numbers."""

import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator
from rich import get_console
from torch import distributed

from utils.runtime.files import write_jsonl, write_text
from utils.scoring.error_rates import ScoredUtterance, error_rates, evaluation_record, prediction_records
from utils.training.evaluation_history import METRICS_FILE
from utils.training.samples import Sample, print_samples, samples_as_markdown

PREDICTIONS, RUN_ID_FILE = "predictions", "run_id.txt"

# Referenced until the process ends, see `end_training`.
_ended_groups: list[distributed.ProcessGroup | None] = []


def end_trackers(accelerator: Accelerator) -> None:
    """Write the last records of the trackers. If a tracker's disk is full, print a warning only."""
    for tracker in accelerator.trackers if accelerator.is_main_process else []:
        try:
            tracker.finish()
        except OSError as error:
            print(f"{tracker.name}: its last records could not be written: {error.strerror}.")
    accelerator.trackers = []


@contextmanager
def ending_training(accelerator: Accelerator) -> Iterator[None]:
    """End trackers and process group after the block. Do so too if the run leaves to be continued."""
    try:
        yield
    except SystemExit:
        end_training(accelerator)
        raise
    end_training(accelerator)


def end_training(accelerator: Accelerator) -> None:
    """End the trackers and the process group.

    We keep a reference to the process group to avoid a deadlock. Without it, DistributedDataParallel would
    free the group while it holds the GIL, and wait for gloo's threads. But one of these may need the GIL to
    free a tensor.
    """
    end_trackers(accelerator)
    if distributed.is_initialized():
        _ended_groups.append(distributed.group.WORLD)
    accelerator.end_training()


class RunLog:
    """Writes to the run folder on the main process, and sends numbers to Accelerate's trackers.

    A full disk does not end the run. Records that could not be written to metrics.jsonl are written together
    with the next record.
    """

    def __init__(self, folder: Path, accelerator: Accelerator) -> None:
        self._folder, self._accelerator = folder, accelerator
        self._path = folder / METRICS_FILE
        self._unwritten = b""

    def start_trackers(self, project: str, arguments: Mapping[str, object], step: int) -> None:
        """Open the accelerator's trackers, and send them the run's arguments.

        A resumed run continues in its trackers. TensorBoard drops the records after `step`. Trackio and
        Weights & Biases find the run by its id. MLflow starts another run with the same name.
        """
        if not (self._accelerator.is_main_process and self._accelerator.log_with):
            return
        run_id, name = self._run_id(anew=step == 0), self._folder.resolve().name
        options = {
            "tensorboard": {"purge_step": step + 1 if step else 0},
            "trackio": {"name": f"{name}-{run_id}", "resume": "allow"},
            "wandb": {"name": name, "id": run_id, "resume": "allow", "dir": str(self._folder)},
            "mlflow": {"run_name": name},
        }
        plain = {
            key: value if isinstance(value, bool | int | float | str) else str(value)
            for key, value in arguments.items()
        }
        self._accelerator.init_trackers(project, plain, options)

    def _run_id(self, anew: bool) -> str:
        path = self._folder / RUN_ID_FILE
        if anew or not path.exists():
            write_text(path, uuid.uuid4().hex[:8] + "\n")
        return path.read_text(encoding="utf-8").strip()

    def drop_after(self, step: int, evaluated_step: int) -> None:
        """Delete records and predictions of steps after `step`, because a resumed run writes them again.

        Also delete those of an evaluation at `step` itself, if it was made after the checkpoint.
        """
        if not self._accelerator.is_main_process:
            return
        if self._path.exists():
            lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and _is_before(line, step, evaluated_step)]
            write_text(self._path, "".join(kept))
        for file in (self._folder / PREDICTIONS).glob("step-*.jsonl"):
            if int(file.stem.removeprefix("step-")) > min(step, evaluated_step):
                file.unlink()

    def write(self, step: int, **values: float | int | str) -> None:
        """Append one record.

        Numbers that are not finite become null. Trackers get only the numbers of the record.
        """
        if not self._accelerator.is_main_process:
            return
        finite = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }
        self._unwritten += (json.dumps({"step": step, **finite}, ensure_ascii=False) + "\n").encode()
        numbers = {name: value for name, value in finite.items() if isinstance(value, int | float)}
        try:
            self._append()
            self._accelerator.log(numbers, step=step)
        except OSError as error:
            print(f"step {step}: {self._path.name} or a tracker could not be written: {error.strerror}.")

    def _append(self) -> None:
        with self._path.open("ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                written = file.write(self._unwritten)
                if written < len(self._unwritten):  # the disk is full; a second write raises the reason
                    file.write(self._unwritten[written:])
            except OSError:
                file.truncate(end)  # leave no incomplete line
                raise
        self._unwritten = b""

    def write_evaluation(
        self,
        step: int,
        scored: Sequence[ScoredUtterance],
        samples: Sequence[Sample],
        figures: Mapping[str, float],
    ) -> None:
        """Write the rates and utterances (`predictions/step-<step>.jsonl`) of an evaluation.

        Print samples. `figures` are written beside the rates.
        """
        rates = evaluation_record(error_rates(scored))
        self.write(step, **rates, **figures, eval_utterances=len(scored))
        if not self._accelerator.is_main_process:
            return
        if samples:
            print_samples(samples, get_console())
        path = self._folder / PREDICTIONS / f"step-{step}.jsonl"
        try:
            write_jsonl(path, prediction_records(scored))
            if samples:
                self._write_markdown(step, "samples", samples_as_markdown(samples))
        except OSError as error:
            print(f"step {step}: {path} or a tracker could not be written: {error.strerror}.")

    def _write_markdown(self, step: int, name: str, text: str) -> None:
        """Send text to the trackers that can show it: TensorBoard and trackio."""
        for tracker in self._accelerator.trackers:
            if tracker.name == "tensorboard":
                tracker.log({name: text}, step=step)
            elif tracker.name == "trackio":
                import trackio

                tracker.log({name: trackio.Markdown(text)}, step=step)


def _is_before(line: str, step: int, evaluated_step: int) -> bool:
    record = json.loads(line)
    if record["step"] == step and evaluated_step < step:
        return not any(name.startswith("eval_") for name in record)
    return record["step"] <= step
