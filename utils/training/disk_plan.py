"""Plan the files of a run, so that they fit into `--disk_budget`."""

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from utils.arguments.train import TrainArguments
from utils.model.loading import LoadedModel
from utils.runtime.disk_budget import DiskBudget, read_size, show_size
from utils.runtime.errors import UserError
from utils.runtime.messages import counted
from utils.training.estimates import Disk, estimate_disk
from utils.training.optimizers import moment_bytes

SMALL_FILES = 100_000  # bytes of a folder without weights, optimiser state and tokenizer

BYTES_PER_TENSOR = 1_000  # names and shapes in the files of a checkpoint

SHARE_FOR_FILES = 0.98  # of the budget; the rest is for logs


@dataclass(frozen=True)
class DiskPlan:
    """What a run may write."""

    budget: DiskBudget
    checkpoints: int  # number of checkpoints to keep
    sizes: Disk  # estimates, with the small files of a folder
    caches: bool = True  # whether there is room for the outputs of a frozen encoder

    def savings(self, save_total_limit: int) -> list[str]:
        """Describe what the budget takes away from a run."""
        found = []
        if self.checkpoints < save_total_limit:
            kept = counted(self.checkpoints, "checkpoint")
            found.append(f"disk_budget: the run keeps {kept} instead of {save_total_limit}.")
        if not self.caches:
            found.append(
                "disk_budget: the outputs of the frozen encoder are not cached, so training is slower."
            )
        return found


def budget_of(args: TrainArguments) -> DiskBudget:
    """Return the bytes that the run folder may take."""
    limit = None if args.disk_budget is None else read_size(args.disk_budget)
    return DiskBudget(Path(args.output_dir), limit)


def estimate_files(args: TrainArguments, model: nn.Module, encoder_states: int) -> Disk:
    """Estimate the size of the files of a run with `--save_total_limit` checkpoints."""
    folders = 1 + (args.eval_steps > 0) + args.average_checkpoints + bool(args.interpolation_alphas)
    return estimate_disk(
        model,
        checkpoints=args.save_total_limit if args.save_steps else 0,
        models=folders,
        moment_bytes=moment_bytes(args.optim),
        adapter_only=args.use_peft,
        encoder_states=encoder_states,
    )


def with_small_files(sizes: Disk, loaded: LoadedModel) -> Disk:
    """Add what a folder holds beside weights and optimiser state. The tokenizer is the largest part."""
    tokenizer = len(loaded.processor.tokenizer.backend_tokenizer.to_str(pretty=True).encode())
    names = BYTES_PER_TENSOR * len(list(loaded.model.parameters()))
    return replace(
        sizes,
        checkpoint=sizes.checkpoint + names + SMALL_FILES,
        model=sizes.model + tokenizer + SMALL_FILES,
    )


def plan_disk(args: TrainArguments, loaded: LoadedModel, encoder_states: int) -> DiskPlan:
    """Choose how many checkpoints to keep. With a budget, these may be fewer than `--save_total_limit`.

    Args:
        args: The arguments of the run.
        loaded: The model. `requires_grad` marks the trained parameters.
        encoder_states: Bytes of the cache of a frozen encoder. 0 if there is none.

    Raises:
        UserError: The budget is too small for a single checkpoint and the model folders.
    """
    sizes = with_small_files(estimate_files(args, loaded.model, encoder_states), loaded)
    budget = budget_of(args)
    if budget.limit_bytes is None:
        return DiskPlan(budget, args.save_total_limit, sizes)
    for cache in dict.fromkeys((encoder_states, 0)):
        for kept in range(args.save_total_limit, 0, -1):
            if peak_bytes(args, sizes, kept, cache) <= SHARE_FOR_FILES * budget.limit_bytes:
                return DiskPlan(budget, kept, sizes, caches=cache == encoder_states)
    needed = peak_bytes(args, sizes, 1, 0) / SHARE_FOR_FILES
    raise UserError(
        f"disk_budget {args.disk_budget}: {args.output_dir} needs {show_size(needed)} at its fullest moment "
        f"({_parts(args, sizes)}). Give a larger disk_budget. Or need less: --use_peft, "
        "--optim adamw_bnb_8bit, fewer --average_checkpoints, or --save_steps 0 for no checkpoints."
    )


def peak_bytes(args: TrainArguments, sizes: Disk, kept: int, encoder_states: int) -> int:
    """Return the bytes at the fullest moment of a run that keeps `kept` checkpoints.

    A new folder is complete before the old one is deleted. So a checkpoint, best/, a snapshot or a mixture
    exists twice for a moment.
    """
    checkpoint, model = sizes.checkpoint, sizes.model
    has_best, snapshots = args.eval_steps > 0, args.average_checkpoints
    checkpoints = kept * checkpoint if args.save_steps else 0
    grown = max(1, snapshots) if args.use_peft else 1  # the average of adapters has the sum of their ranks
    trained = checkpoints + (has_best + snapshots) * model + encoder_states
    moments = [trained + model]  # best/ or a snapshot is replaced, or final/ is written
    if args.save_steps:
        moments.append(trained + checkpoint)
    if snapshots:  # beside final/, the average is written
        moments.append(checkpoints + (has_best + snapshots + 1 + grown) * model)
    if (
        args.interpolation_alphas
    ):  # best/, final/, a mixture, the next one, and the result of an earlier search
        moments.append(checkpoints + (4 * grown + 1) * model)
    in_copy = (checkpoint * (args.save_steps > 0) + (has_best + snapshots) * model) * bool(args.mirror_dir)
    return max(moments) + in_copy  # see `RunMirror`


def _parts(args: TrainArguments, sizes: Disk) -> str:
    found = [f"a checkpoint of {show_size(sizes.checkpoint)} and the next one"] if args.save_steps else []
    return ", ".join([*found, f"model folders of {show_size(sizes.model)} each"])
