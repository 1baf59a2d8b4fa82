"""Whether a folder may receive a prepared dataset, or holds one."""

from pathlib import Path

from utils.data.data_report import ARGUMENTS_FILE, NUMBERS_FILE
from utils.runtime.errors import UserError


def holds_dataset(output_dir: Path) -> bool:
    """Whether preprocess.py has written the folder; False where it may.

    Raises:
        UserError: It holds something else, which is never overwritten, or cannot take the dataset's place.
    """
    if output_dir.is_file():
        raise UserError(
            f"{output_dir}: found a file, expected a folder or nothing. Choose another --output_dir."
        )
    is_done = (output_dir / NUMBERS_FILE).is_file()
    if not is_done:
        _check_replaceable(output_dir)
    if not output_dir.is_dir() or not any(output_dir.iterdir()):
        return False
    if not is_done or not (output_dir / ARGUMENTS_FILE).is_file():
        raise UserError(
            f"{output_dir}: not empty, and not written by preprocess.py. Choose another --output_dir."
        )
    return True


def _check_replaceable(output_dir: Path) -> None:
    """Raise a UserError where the finished folder could not take the name of one that is there."""
    what = None
    if output_dir.is_mount():
        what = "a mount point, which no folder can take the place of"
    elif output_dir.is_dir() and output_dir.samefile(Path.cwd()):
        what = "the current folder, which you would find deleted and replaced"
    if what:
        raise UserError(f"{output_dir}: {what}. Name one below it, such as {output_dir / 'data'}.")
