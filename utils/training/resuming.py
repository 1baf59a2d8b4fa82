"""Resume a run: check whether it has finished, find its checkpoint, and restore its state."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from accelerate import Accelerator

from utils.arguments.train import TrainArguments
from utils.data.prepared_dataset import digest_of
from utils.model.averaging import find_snapshots, snapshot_step
from utils.runtime.errors import UserError
from utils.runtime.resolved_arguments import differing_arguments
from utils.training.checkpoint_search import (
    check_not_beyond,
    check_same_plan,
    find_checkpoint_together,
    origin_of,
)
from utils.training.checkpoints import load_checkpoint
from utils.training.data import read_training_rows
from utils.training.mixing import MIXING_ARGUMENTS
from utils.training.model_folders import SNAPSHOTS, read_training_results
from utils.training.optimizers import settings_kept
from utils.training.run import Run
from utils.training.state import TrainingState

# the result does not depend on these; torch_compile is missing because it changes the draws of dropout
FREE_ARGUMENTS = (
    *("output_dir", "resume_from_checkpoint", "report_to", "project"),
    *("auto_find_batch_size", "micro_batch_seconds", "memory", "gradient_checkpointing", "dry_run"),
    *("dataloader_num_workers", "per_device_eval_batch_size"),
    *("save_steps", "save_total_limit", "logging_steps", "mirror_dir", "disk_budget"),
    *("push_to_hub", "hub_model_id", "hub_private_repo", "hub_license", "hub_strategy"),
    "dataset_tags",
    *MIXING_ARGUMENTS,
)


@dataclass(frozen=True)
class Start:
    """The start of a run: a checkpoint, or None for the beginning."""

    checkpoint: Path | None
    origin: str  # see `origin_of`


def find_start(args: TrainArguments, accelerator: Accelerator) -> Start:
    """Find the checkpoint from which the run continues, if there is one. Call this before any long work."""
    told = {name: value for name, value in asdict(args).items() if name not in FREE_ARGUMENTS}
    origin = origin_of(args.resume_from_checkpoint, told)
    output_dir = Path(args.output_dir)
    checkpoint = find_checkpoint_together(accelerator, output_dir, args.resume_from_checkpoint, origin)
    return Start(checkpoint, origin)


def take_up(run: Run, start: Start) -> Run:
    """Restore the run from its checkpoint, if there is one. Set the current validation data and metric.

    Raises:
        UserError: The checkpoint does not fit the run.
    """
    args, data, checkpoint, state = run.args, run.data, start.checkpoint, run.state
    is_own = checkpoint is not None and checkpoint.parent.resolve() == run.output_dir.resolve()
    if checkpoint:
        with settings_kept(run.optimizer, run.scheduler):
            state = load_checkpoint(run.accelerator, checkpoint)
            if args.max_hours is None:
                state.schedule_change = None  # the limit was removed: the schedule is that of the arguments
            run.pace.last_change = state.schedule_change
        run.clock.continue_from(state.seconds_used if is_own else 0.0)
        check_not_beyond(checkpoint, state, run.total_steps)
        if args.resume_from_checkpoint is None:
            check_same_plan(checkpoint, state, str(data.plan.size), data.digest)
    state.step_size, state.data = str(data.plan.size), data.digest
    state.judge_by(args.metric_for_best_model, data.validation_digest)
    state.origin = start.origin or state.origin
    if checkpoint:
        take_up_what_is_kept(
            state,
            run.output_dir,
            is_own=is_own,
            goes_its_own_way=args.resume_from_checkpoint is not None,
        )
    return replace(run, state=state)


def take_up_what_is_kept(
    state: TrainingState, output_dir: Path, *, is_own: bool, goes_its_own_way: bool
) -> None:
    """Make a checkpoint's state agree with best/ and the snapshots, which may be newer.

    Args:
        state: The state of the checkpoint. It is changed.
        output_dir: The run folder.
        is_own: Whether the checkpoint is in this run folder.
        goes_its_own_way: Whether training may now differ from the steps that once followed the checkpoint.
    """
    kept = {snapshot_step(path) for path in find_snapshots(output_dir / SNAPSHOTS)} if is_own else set()
    state.ranking = [(step, value) for step, value in state.ranking if step in kept]
    best = read_training_results(output_dir / "best") if (output_dir / "best").is_dir() else None
    if not is_own:  # the best model is in the other run folder
        state.best_metric = state.best_step = None
        state.evaluations_without_improvement = state.evaluated_step = 0
    elif best is None or (goes_its_own_way and state.is_behind(best)):
        state.best_metric = state.best_step = None  # that model was overwritten
    else:
        state.take_up_best(best)


def is_finished(args: TrainArguments, output_dir: Path) -> bool:
    """Check whether this run has already finished.

    Raises:
        UserError: The folder holds a run with other arguments, and no checkpoint was requested. Or it holds a
            finished run with other clips.
    """
    if not (output_dir / "train.yaml").exists():
        return False
    differences = differing_arguments(args, output_dir / "train.yaml", ignored=FREE_ARGUMENTS)
    checkpoints = any(output_dir.glob("checkpoint-*"))
    has_left_something = checkpoints or any((output_dir / name).is_dir() for name in ("best", "final"))
    if differences and has_left_something and args.resume_from_checkpoint is None:
        go_on = ", or --resume_from_checkpoint latest to continue from its newest checkpoint"
        raise UserError(
            f"{output_dir} holds a run with other arguments: {'; '.join(differences)}. Choose another "
            f"--output_dir{go_on if checkpoints else ''}."
        )
    final = output_dir / "final"  # may be of an earlier, shorter run
    if (
        differences
        or not (final / "train.yaml").exists()
        or differing_arguments(args, final / "train.yaml", ignored=FREE_ARGUMENTS)
    ):
        return False
    check_same_clips(args, final)
    return True


def check_same_clips(args: TrainArguments, final: Path) -> None:
    """Check that a finished run was trained on the clips that the datasets have now.

    Do nothing if the datasets do not exist any more.

    Raises:
        UserError: The clips have changed.
    """
    try:
        rows = read_training_rows(args)
    except UserError:
        return
    if read_training_results(final)["data"] != digest_of(rows):
        raise UserError(
            f"{final} was trained on other clips than {', '.join(args.dataset)} holds now. "
            f"Choose another --output_dir, or delete {final.parent} to train again."
        )
