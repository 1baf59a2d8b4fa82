"""Save checkpoints atomically, and load them."""

import contextlib
import dataclasses
import json
import shutil
import time
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import gather_object

from utils.runtime.disk_budget import DiskBudget
from utils.runtime.errors import UserError, WriteError
from utils.runtime.files import delete_folder, move_into_place, write_json
from utils.runtime.launch import failing_together
from utils.training.checkpoint_files import (
    PREFIX,
    STATE_FILE,
    files_of_state,
    fingerprint_share,
    newest_first,
    read_state,
)
from utils.training.state import TrainingState

WEIGHTS_FILE = "model.safetensors"  # Accelerate's name

MPS_STATE_FILE = "mps_random_state.pt"


def save_checkpoint(
    accelerator: Accelerator,
    output_dir: Path,
    state: TrainingState,
    keep: int,
    budget: DiskBudget | None = None,
    size_bytes: int = 0,
) -> bool:
    """Save `checkpoint-<step>` (model, optimiser, schedule, random states), and keep the newest `keep`.

    All processes must call this. The folder gets its final name when all its files are on disk. Older
    checkpoints are deleted after that, so the disk needs space for `keep` + 1.

    Args:
        accelerator: The accelerator of the run.
        output_dir: The run folder.
        state: The state to save.
        keep: Number of checkpoints to keep.
        budget: What the run folder may take. None: what the disk has.
        size_bytes: Expected size of the first checkpoint. The next ones need what the one before takes.

    Returns:
        Whether it was saved. If it was not, because the disk is full, older checkpoints are kept and the
        reason is printed.
    """
    folder = output_dir / f"{PREFIX}{state.step}"
    temporary = output_dir / f".{folder.name}.tmp"
    try:
        with failing_together():
            _begin(accelerator, output_dir, temporary, budget or DiskBudget(output_dir), size_bytes)
        with failing_together():
            accelerator.save_state(str(temporary))
            if accelerator.device.type == "mps":  # Accelerate does not save this generator
                torch.save(torch.mps.get_rng_state(), temporary / MPS_STATE_FILE)
        with failing_together():
            own = fingerprint_share(accelerator, temporary)
        files = dict(sorted(gather_object(own)))
        with failing_together():
            _seal(accelerator, temporary, folder, state, files)
    except WriteError as error:
        _tell_failure(
            accelerator, temporary, f"step {state.step}: the checkpoint could not be written: {error}"
        )
        return False
    if accelerator.is_main_process:
        for old in newest_first(output_dir)[keep:]:
            delete_folder(old)
    accelerator.wait_for_everyone()
    return True


def enter_evaluation(accelerator: Accelerator, output_dir: Path, state: TrainingState) -> None:
    """Add the result of an evaluation to the checkpoint of its step, which was saved before the evaluation.

    If writing fails, a run that resumes from this checkpoint evaluates again.
    """
    if not accelerator.is_main_process:
        return
    path = output_dir / f"{PREFIX}{state.step}" / STATE_FILE
    record = json.loads(path.read_text(encoding="utf-8"))
    with contextlib.suppress(OSError):
        write_json(path, {**record, "state": dataclasses.asdict(state)})


def _tell_failure(accelerator: Accelerator, temporary: Path, found: str) -> None:
    if accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
        last = next(iter(newest_first(temporary.parent)), None)
        print(
            f"{found}. {f'{last} is kept' if last else 'There is no earlier one'}. Training continues until "
            "the next checkpoint. Free some disk space."
        )
    accelerator.wait_for_everyone()


def _begin(
    accelerator: Accelerator, output_dir: Path, temporary: Path, budget: DiskBudget, size_bytes: int
) -> None:
    """Delete the incomplete folders of a killed run, and make an empty folder.

    If the budget is too small, delete all checkpoints but the newest first.

    Raises:
        OSError: The disk or the budget has less space than the last checkpoint takes. This is checked first,
            because all processes would wait for one that fails during a sharded save.
    """
    if not accelerator.is_main_process:
        return
    for left in output_dir.glob(f".{PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
    temporary.mkdir(parents=True)
    last = next(iter(newest_first(output_dir)), None)
    needed = sum(file.stat().st_size for file in files_of_state(last)) if last else size_bytes
    if budget.limit_bytes is not None and budget.free_bytes() < needed:
        for old in newest_first(output_dir)[1:]:
            delete_folder(old)
    if reason := budget.why_too_small(needed):
        raise OSError(reason)


def _seal(
    accelerator: Accelerator, temporary: Path, folder: Path, state: TrainingState, files: dict[str, str]
) -> None:
    """Write the state and the fingerprint of each file, and rename the folder."""
    if accelerator.is_main_process:
        record = {"saved_at": time.time(), "state": dataclasses.asdict(state), "files": files}
        write_json(temporary / STATE_FILE, record)
        move_into_place(temporary, folder)


def load_checkpoint(accelerator: Accelerator, folder: Path) -> TrainingState:
    """Restore the model, optimiser, schedule and random generators that Accelerate has prepared.

    If weights are not sharded, a checkpoint from another number of processes can be loaded too. Random draws
    (dropout) then differ from those of an uninterrupted run. A message says so.

    Raises:
        UserError: The checkpoint has other weights, another adapter rank, optimiser or precision. With
            DeepSpeed, it may also have another number of processes.
    """
    saved_by = len(list(folder.glob("random_states_*.pkl")))
    if accelerator.distributed_type == DistributedType.DEEPSPEED and saved_by != accelerator.num_processes:
        raise UserError(
            f"{folder}: {saved_by} DeepSpeed processes saved it, now there are {accelerator.num_processes}. "
            "Use the same number again, or start a new run in another --output_dir with the run's final "
            "or best folder as --model_name_or_path."
        )
    try:
        accelerator.load_state(str(folder))
    except torch.OutOfMemoryError:
        raise
    except (ValueError, RuntimeError, KeyError, OSError) as error:
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"{folder} does not fit this run: its weights, optim, lora_r or precision differ "
            f"({first_line}). To change them, start a new run in another --output_dir with the run's final "
            "or best folder as --model_name_or_path."
        ) from error
    saved = folder / f"random_states_{accelerator.process_index}.pkl"
    if not saved.is_file():
        print(f"{folder}: no random state for process {accelerator.process_index}. Its dropout will differ.")
    elif not torch.equal(_torch_state(saved), torch.get_rng_state()):
        # If Accelerate cannot load random states, it only logs that at level info.
        raise UserError(
            f"{saved}: the random state could not be restored. Install the library versions that saved it."
        )
    if accelerator.device.type == "mps" and (folder / MPS_STATE_FILE).is_file():
        torch.mps.set_rng_state(torch.load(folder / MPS_STATE_FILE, weights_only=True))
    return read_state(json.loads((folder / STATE_FILE).read_text(encoding="utf-8")))


def _torch_state(file: Path) -> torch.Tensor:
    from accelerate.utils import load

    return load(file)["torch_manual_seed"]
