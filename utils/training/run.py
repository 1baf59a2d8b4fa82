"""What all parts of a run share, what is counted and logged of each step, and how a run is left."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator

from utils.arguments.train import TrainArguments
from utils.model.loading import LoadedModel
from utils.model.whisper import trainable_parameters_line
from utils.runtime.devices import peak_memory_bytes
from utils.runtime.errors import UserError, WriteError
from utils.runtime.files import write_text
from utils.runtime.interruption import CONTINUE, StopRequest, note_interruption
from utils.runtime.resolved_arguments import arguments_as_yaml
from utils.training.data import TrainingData
from utils.training.run_log import RunLog, end_training
from utils.training.state import TrainingState
from utils.training.step_plan import silence_run
from utils.training.steps import Step
from utils.training.updates import Update

LOW_FOR_ADAPTERS = 5e-5  # of learning rates


@dataclass(frozen=True)
class Run:
    """What all parts of a run share."""

    args: TrainArguments
    accelerator: Accelerator
    loaded: LoadedModel
    model: torch.nn.Module  # behind its loss, as Accelerate has prepared it
    data: TrainingData
    state: TrainingState
    log: RunLog
    stop_request: StopRequest

    @property
    def output_dir(self) -> Path:
        """The run folder."""
        return Path(self.args.output_dir)


def is_due(step: int, interval: int, total_steps: int) -> bool:
    """Whether something done every `interval` steps, and at the end, is due; an interval of 0 means never."""
    return interval > 0 and (step % interval == 0 or step == total_steps)


def count_step(state: TrainingState, step: Step, data: TrainingData, update: Update) -> None:
    """Enter a step into the state that a checkpoint saves; what was skipped is not trained on."""
    state.step = step.number + 1
    if update.skipped:
        state.skipped_steps += 1
        state.skipped_in_a_row += 1
    else:
        state.skipped_in_a_row = 0
        state.loss_sum += update.loss_sum
        state.loss_tokens += step.num_targets
        state.audio_seconds += step.audio_seconds
        state.padded_seconds += step.padded_seconds
    ids = "\n".join(data.ids_of(step))
    state.order = hashlib.sha256(f"{state.order}\n{ids}".encode()).hexdigest()[:16]


def tell_skipped_step(run: Run, step: Step, update: Update) -> None:
    """Name the clips of a step whose loss or gradient was not finite, among which a poisoned one is found.

    Raises:
        UserError: It was one too many in a row.
    """
    args, state = run.args, run.state
    ids = " ".join(run.data.ids_of(step))
    found = f"the loss is {update.loss_sum}, the gradient norm {update.grad_norm}"
    run.log.write(state.step, skipped_steps=state.skipped_steps, skipped_ids=ids)
    if state.skipped_in_a_row == 1:
        run.accelerator.print(
            f"step {state.step}: {found}. Skipped; the weights are as before. Its clips: {ids}"
        )
    if state.skipped_in_a_row >= args.max_skipped_steps:
        raise UserError(
            f"step {state.step}: {found}; {state.skipped_in_a_row} steps in a row had to be skipped. "
            "The last checkpoint is kept. Lower learning_rate, warm up longer, or train without fp16; if it "
            f"is always the same clips (skipped_ids in {run.output_dir}/metrics.jsonl), listen to them."
        )


def check_saved(state: TrainingState, saved: bool) -> None:
    """Before a run is left to be continued.

    Raises:
        WriteError: The checkpoint could not be written; the one before is kept.
    """
    if not saved:
        raise WriteError(
            f"told to stop at step {state.step}, which could not be saved. The checkpoint before is kept."
        )


def leave_to_be_continued(
    accelerator: Accelerator, output_dir: Path, step: int, stop_request: StopRequest
) -> None:
    """End the process with the exit code that asks for another run."""
    if accelerator.is_main_process:
        note_interruption(output_dir, step, stop_request.reason or "another process was told to stop")
        where = f"after step {step}, which is saved" if step else "before the first step"
        print(f"Stopped {where}. The same command goes on from there.")
    end_training(accelerator)
    raise SystemExit(CONTINUE)


def log_training(
    log: RunLog, state: TrainingState, step: Step, learning_rate: float, grad_norm: float, rate: float
) -> None:
    """Write one training record and start the next mean."""
    log.write(
        state.step,
        epoch=step.epoch,
        loss=state.mean_loss,
        learning_rate=learning_rate,
        grad_norm=grad_norm,
        skipped_steps=state.skipped_steps,
        audio_context=step.context,
        audio_seconds=state.audio_seconds,
        audio_seconds_per_second=rate,
        padding_share=state.padding_share,
        peak_memory_bytes=peak_memory_bytes(),
        order=state.order,
    )
    state.loss_sum, state.loss_tokens = 0.0, 0


def announce(
    args: TrainArguments,
    accelerator: Accelerator,
    loaded: LoadedModel,
    data: TrainingData,
    total_steps: int,
    first_step: int,
) -> None:
    """Write the resolved arguments and say what is about to be trained."""
    if not accelerator.is_main_process:
        return
    write_text(Path(args.output_dir) / "train.yaml", arguments_as_yaml(args))
    print(trainable_parameters_line(loaded.model))
    first_epoch = data.clips.draw(0)
    hours = sum(example.duration for example in first_epoch) / 3600
    num_windows = sum(not example.rows for example in first_epoch)
    machine = f"{accelerator.num_processes} x {accelerator.device.type}"
    print(
        f"{len(data.ids)} clips "
        + (f"and {num_windows} windows without speech " if num_windows else "")
        + f"({hours:.2f} h an epoch) for training, "
        f"{len(data.validation)} for validation; {total_steps} steps of {data.plan.size} on {machine}, "
        f"precision {accelerator.mixed_precision}, {args.audio_context} audio context"
        + (", silence condensed" if silence_run(args) else "")
        + (f"; going on from step {first_step}" if first_step else "")
    )
    if args.use_peft and args.learning_rate < LOW_FOR_ADAPTERS:
        usual = "1e-2" if args.peft_type == "adalora" else "1e-3"
        print(f"learning_rate {args.learning_rate:g} suits whole weights; an adapter usually takes {usual}.")
