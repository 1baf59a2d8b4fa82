"""Hold the objects of a run. Start the run, describe it, and interrupt it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator

from utils.arguments.train import TrainArguments
from utils.model.leaks import leak_warnings
from utils.model.loading import LoadedModel
from utils.model.whisper import trainable_parameters_line
from utils.runtime.files import write_text
from utils.runtime.interruption import CONTINUE, StopRequest, note_interruption
from utils.runtime.launch import describe_hardware
from utils.runtime.messages import counted
from utils.runtime.resolved_arguments import arguments_as_yaml
from utils.training.clock import RunClock
from utils.training.data import TrainingData
from utils.training.disk_plan import DiskPlan
from utils.training.options import silence_run
from utils.training.pace import Pace
from utils.training.run_log import RunLog
from utils.training.state import TrainingState

LOW_FOR_ADAPTERS = 5e-5  # learning rates below this are low for adapters


@dataclass(frozen=True)
class Run:
    """The objects that all parts of a run share."""

    args: TrainArguments
    accelerator: Accelerator
    stop_request: StopRequest
    loaded: LoadedModel
    data: TrainingData
    model: torch.nn.Module  # `WhisperLoss` around the model, prepared by Accelerate
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LambdaLR
    pace: Pace
    disk: DiskPlan
    log: RunLog
    state: TrainingState = field(default_factory=TrainingState)
    clock: RunClock = field(default_factory=RunClock)
    after_saving: Sequence[
        Callable[[], None]
    ] = ()  # on the main process, see --hub_strategy and --mirror_dir

    @property
    def output_dir(self) -> Path:
        """The run folder."""
        return Path(self.args.output_dir)

    @property
    def total_steps(self) -> int:
        """The number of the last step. It may change during the run, see --max_hours."""
        return self.pace.total_steps

    def is_due(self, interval: int) -> bool:
        """Check whether it is time for an action that happens every `interval` steps and at the end.

        0 means never.
        """
        step = self.state.step
        return interval > 0 and (step % interval == 0 or step == self.total_steps)

    @property
    def epoch(self) -> float:
        """Passes over the training data so far, such as 1.5."""
        return self.data.plan.epochs_after(self.state.step)

    @property
    def patience_is_over(self) -> bool:
        """Whether early stopping ends the training."""
        patience = self.args.early_stopping_patience
        return patience is not None and self.state.evaluations_without_improvement >= patience


def begin(run: Run, *, is_resumed: bool) -> None:
    """Open the logs at the current step, write the resolved arguments, and describe the run."""
    args, state = run.args, run.state
    run.log.drop_after(state.step if is_resumed else -1, state.evaluated_step)
    run.log.start_trackers(args.project, asdict(args), state.step)
    if run.accelerator.is_main_process:
        write_text(run.output_dir / "train.yaml", arguments_as_yaml(args))
        print(trainable_parameters_line(run.loaded.model))
        print(describe(run))
        for saving in run.disk.savings(args.save_total_limit):
            print(saving)
        tell_leaks(args)
        if args.use_peft and args.learning_rate < LOW_FOR_ADAPTERS:
            usual = "1e-2" if args.peft_type == "adalora" else "1e-3"
            rate = f"{args.learning_rate:g}"
            print(f"learning_rate {rate} is usual for full fine-tuning. Adapters usually need {usual}.")


def tell_leaks(args: TrainArguments) -> None:
    """Print a warning for each argument that makes the scores of this run too good."""
    for sentence in leak_warnings(vars(args)):
        print(f"WARNING: {sentence}")


def describe(run: Run) -> str:
    """Describe data, steps, devices and precision of the run."""
    args, data, accelerator = run.args, run.data, run.accelerator
    first_epoch = data.clips.draw(0)
    hours = sum(example.duration for example in first_epoch) / 3600
    num_windows = sum(not example.rows for example in first_epoch)
    return (
        f"{counted(len(data.ids), 'clip')} "
        + (f"and {counted(num_windows, 'window')} without speech " if num_windows else "")
        + f"({hours:.2f} h per epoch) for training, {len(data.validation) or 'none'} for {args.eval_split}; "
        f"{counted(run.total_steps, 'step')} of {data.plan.size}"
        + (f" in at most {args.max_hours:g} h" if args.max_hours else "")
        + f" on {describe_hardware(accelerator)}, {args.audio_context} audio context"
        + (", silence condensed" if silence_run(args) else "")
        + (f"; continuing from step {run.state.step}" if run.state.step else "")
    )


def leave_to_be_continued(
    accelerator: Accelerator, output_dir: Path, step: int, stop_request: StopRequest
) -> None:
    """End the process with the exit code that requests another run."""
    if accelerator.is_main_process:
        note_interruption(output_dir, step, stop_request.reason or "another process was told to stop")
        where = f"after step {step}, which is saved" if step else "before the first step"
        print(f"Stopped {where}. Run the same command again to continue.")
    raise SystemExit(CONTINUE)
