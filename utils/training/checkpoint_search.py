"""The checkpoint that a run goes on from: found, verified by content, of the same plan."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import xxhash
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from utils.runtime.errors import UserError
from utils.training.checkpoint_files import (
    STATE_FILE,
    fingerprint_file,
    newest_first,
    origin_of_checkpoint,
    read_state,
)
from utils.training.state import TrainingState


def origin_of(resume_from_checkpoint: str | None, arguments: Mapping[str, object]) -> str:
    """What a run comes from that is told to go on from a named checkpoint; empty for every other run.

    Args:
        resume_from_checkpoint: The argument.
        arguments: All that change the result: told to go back there with others, a run goes back.
    """
    if resume_from_checkpoint in (None, "latest"):
        return ""
    digest = xxhash.xxh3_64_hexdigest(json.dumps(arguments, sort_keys=True).encode())
    return f"{Path(str(resume_from_checkpoint)).resolve()} {digest}"


def find_checkpoint(output_dir: Path, resume_from_checkpoint: str | None, origin: str = "") -> Path | None:
    """The checkpoint to go on from: the one named, or the newest whole one of `output_dir`, or none.

    Before the one named goes the newest that was written after going on from there, so that a run which is
    stopped and told the same again goes on from where it stopped.

    Args:
        output_dir: The run folder.
        resume_from_checkpoint: A checkpoint folder, `latest`, or nothing.
        origin: From `origin_of`.

    Raises:
        UserError: The named checkpoint is not there or not whole, or `latest` finds none.
    """
    if resume_from_checkpoint in (None, "latest"):
        newest = _first_whole(newest_first(output_dir))
        if newest is None and resume_from_checkpoint:
            raise UserError(
                f"{output_dir}: no whole checkpoint to resume from. Leave --resume_from_checkpoint out to "
                "start; if a run is there already that had other arguments, in another --output_dir."
            )
        return newest
    named, checkpoints = Path(str(resume_from_checkpoint)), newest_first(output_dir)
    newest = _first_whole(
        [folder for folder in checkpoints if origin and origin_of_checkpoint(folder) == origin]
    )
    fault = _fault(named) if newest is None else ""
    if fault:
        raise UserError(f"{named}: {fault} Give another checkpoint, or `latest` for the newest whole one.")
    return newest or named


def check_same_plan(folder: Path, state: TrainingState, step_size: str, data: str) -> None:
    """Before a run goes on from a checkpoint of its own with the arguments it had.

    Args:
        folder: The checkpoint.
        state: What it holds.
        step_size: Of the run that is to go on.
        data: Digest of its clips.

    Raises:
        UserError: The run's steps would not be those that it began with.
    """
    way_out = (
        "Start in another --output_dir, or go on at this step all the same: --resume_from_checkpoint latest"
    )
    if state.step_size != step_size:
        raise UserError(
            f"{folder}: its steps were of {state.step_size}, here they are of {step_size}: the number of "
            "processes has changed. Run as many as before, or change per_device_train_batch_size or "
            f"gradient_accumulation_steps so that steps stay as they were. {way_out}."
        )
    if state.data != data:
        raise UserError(f"{folder}: it was trained on other clips than the datasets hold now. {way_out}.")


def check_not_beyond(folder: Path, state: TrainingState, total_steps: int) -> None:
    """Before a run goes on from a checkpoint.

    Raises:
        UserError: It is of a later step than the run is to have in all.
    """
    if state.step > total_steps:
        raise UserError(
            f"{folder}: it is of step {state.step}, and max_steps or num_train_epochs ask for {total_steps} "
            "in all. Ask for more, or go on from an earlier checkpoint: --resume_from_checkpoint with its "
            "folder."
        )


def _first_whole(folders: Sequence[Path]) -> Path | None:
    for folder in folders:
        fault = _fault(folder)
        if not fault:
            return folder
        print(f"{folder}: passed over: {fault}")
    return None


def find_checkpoint_together(
    accelerator: Accelerator, output_dir: Path, resume_from_checkpoint: str | None, origin: str = ""
) -> Path | None:
    """`find_checkpoint` on the main process, which reads every byte; all get its answer, or its error."""
    answer: list[Path | UserError | None] = [None]
    if accelerator.is_main_process:
        try:
            answer = [find_checkpoint(output_dir, resume_from_checkpoint, origin)]
        except UserError as error:
            answer = [error]
    found = broadcast_object_list(answer)[0]
    if isinstance(found, UserError):
        raise found
    return found


def _fault(folder: Path) -> str:
    """What is wrong with a checkpoint; empty when it is whole."""
    try:
        record = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        files = dict(record["files"])
        read_state(record)
    except FileNotFoundError:
        return f"no {STATE_FILE} in it."
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
            return f"{name} has other content than was written."
    return ""
