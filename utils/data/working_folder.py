"""Opens the folders of a run: the output folder, and the hidden folder that keeps finished blocks until the
end.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from utils.data.data_report import ARGUMENTS_FILE, NUMBERS_FILE
from utils.runtime.errors import UserError, WriteError
from utils.runtime.locking import sole_holder


@contextlib.contextmanager
def working_folder(output_dir: Path, shard_index: int | None) -> Iterator[Path]:
    """Yield the hidden folder of finished blocks beside `output_dir`. Lock it, so that only one run uses it.

    The jobs of an array share the folder. Each has its own blocks. The folder stays if a run is interrupted.
    It is deleted if the next run cannot use it. A job of an array never deletes it.

    Raises:
        UserError: Another run is using it.
    """
    folder = output_dir.with_name(f".{output_dir.name}.blocks")
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / ("lock" if shard_index is None else f"lock-{shard_index}")
    refusal = f"{folder}: another preprocess.py is using this --output_dir. Wait for it to end, or stop it."
    with contextlib.ExitStack() as once_unlocked, sole_holder(lock, refusal):
        try:
            yield folder
        finally:
            if shard_index is None and not any(folder.glob("*.json")):
                once_unlocked.callback(shutil.rmtree, folder, ignore_errors=True)


@contextlib.contextmanager
def forgetting_blocks(blocks_dir: Path) -> Iterator[None]:
    """Delete the blocks after they were joined, or if an error shows that none of them can be used.

    If the dataset could not be written, they stay. The user can free disk space and try again.
    """
    useless: UserError | None = None
    try:
        yield
    except WriteError:
        raise
    except UserError as error:
        useless = error
    for index in blocks_dir.glob("*.json"):
        index.unlink()
    if useless is not None:
        raise useless


def holds_dataset(output_dir: Path) -> bool:
    """Return True if preprocess.py has written the folder, False if it may write there.

    Raises:
        UserError: The folder holds something else, which is never overwritten, or cannot be replaced.
    """
    if output_dir.is_file():
        raise UserError(
            f"{output_dir}: found a file, expected a folder or nothing. Choose another --output_dir."
        )
    is_done = (output_dir / NUMBERS_FILE).is_file()
    what = None
    if not is_done and output_dir.is_mount():
        what = "a mount point, which cannot be replaced"
    elif not is_done and output_dir.is_dir() and output_dir.samefile(Path.cwd()):
        what = "the current folder, which would be deleted and replaced"
    if what:
        raise UserError(f"{output_dir}: {what}. Name a folder in it, such as {output_dir / 'data'}.")
    if not output_dir.is_dir() or not any(output_dir.iterdir()):
        return False
    if not is_done or not (output_dir / ARGUMENTS_FILE).is_file():
        raise UserError(
            f"{output_dir}: not empty and not written by preprocess.py. Choose another --output_dir."
        )
    return True
