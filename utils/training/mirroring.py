"""Keep a run's mirror up to date, and continue from it on a fresh machine."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from accelerate import Accelerator

from utils.arguments.train import TrainArguments
from utils.runtime.errors import UserError
from utils.runtime.files import write_failure
from utils.runtime.launch import on_main_process
from utils.runtime.resolved_arguments import differing_arguments
from utils.training.checkpoint_files import newest_first
from utils.training.clock import RunClock
from utils.training.mirror import RunMirror, fetch_run
from utils.training.resuming import FREE_ARGUMENTS
from utils.training.run_log import end_trackers


@contextmanager
def mirrored(args: TrainArguments, accelerator: Accelerator, clock: RunClock) -> Iterator[RunMirror | None]:
    """Mirror a run during the block, if `--mirror_dir` is given.

    If the run folder is empty, the run is fetched from the mirror first. At the end of the block, the mirror
    gets the newest files. This is so too if the run was told to stop. The other processes wait, because a
    launcher kills those that are left when one has ended.

    Yields:
        The mirror, on the main process.

    Raises:
        UserError: The mirror cannot be used. All processes raise this.
    """
    if args.mirror_dir is None:
        yield None
        return
    on_main_process(accelerator, partial(prepare_mirror, args))
    folders = Path(args.output_dir), Path(args.mirror_dir)
    mirror = RunMirror(*folders, clock) if accelerator.is_main_process else None
    try:
        yield mirror
    except SystemExit:
        _finish(accelerator, mirror)
        raise
    _finish(accelerator, mirror)


def _finish(accelerator: Accelerator, mirror: RunMirror | None) -> None:
    end_trackers(accelerator)  # so that their last records are mirrored too
    if mirror:
        mirror.finish()
    accelerator.wait_for_everyone()


def prepare_mirror(args: TrainArguments) -> None:
    """Check that the mirror belongs to this run. If the run folder has nothing to continue, fetch the run.

    Raises:
        UserError: The mirror holds a run with other arguments, and no checkpoint was requested. Or the run
            folder is empty, and the mirror cannot be reached or read.
    """
    assert args.mirror_dir is not None
    run, mirror = Path(args.output_dir), Path(args.mirror_dir)
    for left in (".mirroring", ".fetching"):  # by a run that was killed
        shutil.rmtree(run / left, ignore_errors=True)
    if args.resume_from_checkpoint is None and (mirror / "train.yaml").is_file():
        differences = differing_arguments(args, mirror / "train.yaml", ignored=FREE_ARGUMENTS)
        if differences:
            raise UserError(
                f"mirror_dir {mirror} holds a run with other arguments: {'; '.join(differences)}. Choose "
                "another --mirror_dir, or --resume_from_checkpoint latest to continue that run."
            )
    if _can_continue(run) or args.resume_from_checkpoint not in (None, "latest"):
        return
    if not mirror.parent.is_dir():
        raise UserError(
            f"mirror_dir {mirror}: the folder {mirror.parent} does not exist. Mount the disk, or correct the "
            "path."
        )
    if _can_continue(mirror):
        print(f"{run} has no checkpoint. Fetching the run from {mirror}.", flush=True)
        try:
            fetch_run(mirror, run)
        except OSError as error:
            raise UserError(
                f"{run} could not be fetched from {mirror}: {write_failure(error)}. Run the same command "
                "again, or leave out --mirror_dir to start a new run without it."
            ) from error


def _can_continue(run: Path) -> bool:
    return bool(newest_first(run)) or (run / "final").is_dir()
