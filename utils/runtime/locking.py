"""One run to a folder: a lock that dies with the process that holds it."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from utils.runtime.errors import UserError

LOCK_FILE = ".lock"

PATIENCE = 10.0  # seconds: workers of a run that was killed notice it within five


@contextlib.contextmanager
def sole_run_in(folder: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Hold `folder` for this run while the block lasts; of several processes the first one does.

    Raises:
        UserError: Another run holds the folder.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    refusal = (
        f"{folder}: another run is training into this folder. Wait for it, stop it, or give another "
        "--output_dir."
    )
    with sole_holder(folder / LOCK_FILE, refusal, patience):
        yield


@contextlib.contextmanager
def sole_holder(file: Path, refusal: str, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock of `file`, whose folder exists, while the block lasts.

    The lock is the operating system's (`flock`): a killed run leaves none behind, also on NFS. Where a file
    system has no such locks the run goes on without, and says so.

    Raises:
        UserError: Another run holds it for longer than `patience` seconds; its text is `refusal`.
    """
    import filelock

    lock = filelock.FileLock(file, timeout=patience, fallback_to_soft=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise UserError(refusal) from None
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
            raise
        print(f"{file.parent}: no locks on this file system; see to it that only one run writes here.")
    try:
        yield
    finally:
        lock.release()
