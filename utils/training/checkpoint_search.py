"""Find the checkpoint from which a run continues, and verify it."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import xxhash
from accelerate import Accelerator

from utils.runtime.errors import UserError
from utils.runtime.launch import on_main_process
from utils.training.checkpoint_files import (
    STATE_FILE,
    fingerprint_file,
    newest_first,
    origin_of_checkpoint,
    read_state,
)
from utils.training.state import TrainingState


def origin_of(resume_from_checkpoint: str | None, arguments: Mapping[str, object]) -> str:
    """Return an id for a run that continues from a named checkpoint. Return "" for every other run.

    Args:
        resume_from_checkpoint: The argument.
        arguments: All arguments that change the result. Other arguments give another id, so that the run
            goes back to the named checkpoint.
    """
    if resume_from_checkpoint in (None, "latest"):
        return ""
    digest = xxhash.xxh3_64_hexdigest(json.dumps(arguments, sort_keys=True).encode())
    return f"{Path(str(resume_from_checkpoint)).resolve()} {digest}"


def find_checkpoint(output_dir: Path, resume_from_checkpoint: str | None, origin: str = "") -> Path | None:
    """Return the checkpoint from which to continue. It is the named one, the newest complete one, or None.

    If a run from the named checkpoint has already saved newer ones, return the newest of these. So the same
    command, given again after a stop, continues where it stopped.

    Args:
        output_dir: The run folder.
        resume_from_checkpoint: A checkpoint folder, `latest`, or None.
        origin: The result of `origin_of`.

    Raises:
        UserError: The named checkpoint is missing or damaged, or there is none for `latest`.
    """
    if resume_from_checkpoint in (None, "latest"):
        newest = _first_whole(newest_first(output_dir))
        if newest is None and resume_from_checkpoint:
            raise UserError(
                f"{output_dir}: no complete checkpoint to resume from. Remove --resume_from_checkpoint to "
                "start from the beginning. If the folder holds a run with other arguments, use another "
                "--output_dir."
            )
        return newest
    named, checkpoints = Path(str(resume_from_checkpoint)), newest_first(output_dir)
    newest = _first_whole(
        [folder for folder in checkpoints if origin and origin_of_checkpoint(folder) == origin]
    )
    fault = _fault(named) if newest is None else ""
    if fault:
        raise UserError(f"{named}: {fault} Give another checkpoint, or `latest` for the newest complete one.")
    return newest or named


def check_same_plan(folder: Path, state: TrainingState, step_size: str, data: str) -> None:
    """Check that a resumed run has the same steps as before.

    Args:
        folder: The checkpoint.
        state: The state in the checkpoint.
        step_size: Step size of the resumed run.
        data: Digest of the clips of the resumed run.

    Raises:
        UserError: The step size or the clips have changed.
    """
    way_out = "Use another --output_dir, or continue here anyway: --resume_from_checkpoint latest"
    if state.step_size != step_size:
        raise UserError(
            f"{folder}: its steps had {state.step_size}, now they have {step_size}: the number of processes "
            "has changed. Use the same number as before, or change per_device_train_batch_size or "
            f"gradient_accumulation_steps so that the step size stays the same. {way_out}."
        )
    if state.data != data:
        raise UserError(f"{folder}: the clips of the datasets have changed since it was saved. {way_out}.")


def check_not_beyond(folder: Path, state: TrainingState, total_steps: int) -> None:
    """Check that a checkpoint is not beyond the last step of the run.

    Raises:
        UserError: The checkpoint's step is larger than `total_steps`.
    """
    if state.step > total_steps:
        raise UserError(
            f"{folder}: its step is {state.step}, but max_steps or num_train_epochs give only {total_steps} "
            "steps. Increase them, or continue from an earlier checkpoint: give its folder to "
            "--resume_from_checkpoint."
        )


def _first_whole(folders: Sequence[Path]) -> Path | None:
    for folder in folders:
        fault = _fault(folder)
        if not fault:
            return folder
        print(f"{folder}: skipped: {fault}")
    return None


def find_checkpoint_together(
    accelerator: Accelerator, output_dir: Path, resume_from_checkpoint: str | None, origin: str = ""
) -> Path | None:
    """Run `find_checkpoint` on the main process, and give its result or its error to all processes."""
    return on_main_process(accelerator, partial(find_checkpoint, output_dir, resume_from_checkpoint, origin))


def _fault(folder: Path) -> str:
    """Return what is wrong with a checkpoint. Return "" if it is complete."""
    try:
        record = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        files = dict(record["files"])
        read_state(record)
    except FileNotFoundError:
        return f"{STATE_FILE} is missing."
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{STATE_FILE} is not readable ({error})."
    for name, expected in files.items():
        file = folder / name
        try:
            found = fingerprint_file(file) if file.stat().st_size == int(expected.split()[0]) else ""
        except OSError as error:
            return f"{name} is not readable ({error.strerror})."
        if not found:
            return f"{name} has {file.stat().st_size} bytes, expected {expected.split()[0]}."
        if found != expected:
            return f"{name} is damaged: its checksum differs."
    return ""
