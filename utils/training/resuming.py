"""Whether a run has ended already, where it goes on, and what it takes up from the folder it goes on in."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from accelerate import Accelerator

from utils.arguments.train import TrainArguments
from utils.data.prepared_dataset import digest_of, load_prepared
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
from utils.training.mixing import MIXING_ARGUMENTS
from utils.training.model_folders import SNAPSHOTS, read_training_results
from utils.training.optimizers import settings_kept
from utils.training.run import Run
from utils.training.state import TrainingState

# the result does not depend on them; not torch_compile, by which dropout draws other numbers
FREE_ARGUMENTS = (
    *("output_dir", "resume_from_checkpoint", "report_to", "project"),
    *("auto_find_batch_size", "micro_batch_seconds", "memory", "gradient_checkpointing", "dry_run"),
    *("dataloader_num_workers", "per_device_eval_batch_size"),
    *("save_steps", "save_total_limit", "logging_steps"),
    *MIXING_ARGUMENTS,
)


@dataclass(frozen=True)
class Start:
    """Where a run starts."""

    checkpoint: Path | None
    origin: str  # see `origin_of`


def find_start(args: TrainArguments, accelerator: Accelerator) -> Start:
    """The checkpoint that a run goes on from, if any, looked for before anything long begins."""
    told = {name: value for name, value in asdict(args).items() if name not in FREE_ARGUMENTS}
    origin = origin_of(args.resume_from_checkpoint, told)
    output_dir = Path(args.output_dir)
    checkpoint = find_checkpoint_together(accelerator, output_dir, args.resume_from_checkpoint, origin)
    return Start(checkpoint, origin)


def take_up(run: Run, start: Start) -> Run:
    """The run as its checkpoint left it, or at its beginning, judged by what it validates on now.

    Raises:
        UserError: The checkpoint does not fit the run.
    """
    args, data, checkpoint, state = run.args, run.data, start.checkpoint, run.state
    if checkpoint:
        with settings_kept(run.optimizer, run.scheduler):
            state = load_checkpoint(run.accelerator, checkpoint)
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
            is_own=checkpoint.parent.resolve() == run.output_dir.resolve(),
            goes_its_own_way=args.resume_from_checkpoint is not None,
        )
    return replace(run, state=state)


def take_up_what_is_kept(
    state: TrainingState, output_dir: Path, *, is_own: bool, goes_its_own_way: bool
) -> None:
    """Set a checkpoint's state right by what lies in the run folder, which may have come to its end since.

    Args:
        is_own: Whether the checkpoint is of this folder, as best/ and the snapshots then are.
        goes_its_own_way: Whether what follows may differ from what once followed the checkpoint.
    """
    kept = {snapshot_step(path) for path in find_snapshots(output_dir / SNAPSHOTS)} if is_own else set()
    state.ranking = [(step, value) for step, value in state.ranking if step in kept]
    best = read_training_results(output_dir / "best") if (output_dir / "best").is_dir() else None
    if not is_own:  # the best model lies in the other folder, where the evaluations were
        state.best_metric = state.best_step = None
        state.evaluations_without_improvement = state.evaluated_step = 0
    elif best is None or (goes_its_own_way and state.is_behind(best)):
        state.best_metric = state.best_step = None  # that model is overwritten, and will not be found again
    else:
        state.take_up_best(best)


def is_finished(args: TrainArguments, output_dir: Path) -> bool:
    """Whether this very run has ended already.

    Raises:
        UserError: The folder holds what a run with other arguments has left, and no checkpoint was asked for;
            or it has ended, with other clips.
    """
    if not (output_dir / "train.yaml").exists():
        return False
    differences = differing_arguments(args, output_dir / "train.yaml", ignored=FREE_ARGUMENTS)
    checkpoints = any(output_dir.glob("checkpoint-*"))
    has_left_something = checkpoints or any((output_dir / name).is_dir() for name in ("best", "final"))
    if differences and has_left_something and args.resume_from_checkpoint is None:
        go_on = ", or --resume_from_checkpoint latest to go on from its newest checkpoint"
        raise UserError(
            f"{output_dir} holds a run with other arguments: {'; '.join(differences)}. Give another "
            f"--output_dir{go_on if checkpoints else ''}."
        )
    final = output_dir / "final"  # of an older run while this one goes on beyond its end
    if (
        differences
        or not (final / "train.yaml").exists()
        or differing_arguments(args, final / "train.yaml", ignored=FREE_ARGUMENTS)
    ):
        return False
    check_same_clips(args, final)
    return True


def check_same_clips(args: TrainArguments, final: Path) -> None:
    """Before a finished run is reused; where the datasets are gone since, there is nothing to compare.

    Raises:
        UserError: It was trained on other clips than the datasets hold now.
    """
    try:
        rows = load_prepared(args.dataset, "train", language=args.language)
    except UserError:
        return
    if read_training_results(final)["data"] != digest_of(rows):
        raise UserError(
            f"{final} is there already, trained on other clips than {', '.join(args.dataset)} holds now. "
            f"Give another --output_dir, or delete {final.parent} to train anew."
        )
