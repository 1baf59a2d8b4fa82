"""Lock a folder, so that only one run uses it. The lock ends when its process ends."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from utils.runtime.errors import UserError

LOCK_FILE = ".lock"

PATIENCE = 10.0  # seconds: workers of a killed run end within five


@contextlib.contextmanager
def sole_run_in(folder: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Lock `folder` for this run during the block. Only the first process takes the lock.

    Raises:
        UserError: Another run holds the lock.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    refusal = (
        f"{folder}: another run is using this folder. Wait for it, stop it, or choose another --output_dir."
    )
    with sole_holder(folder / LOCK_FILE, refusal, patience):
        yield


@contextlib.contextmanager
def sole_writer_of(path: Path, refusal: str) -> Iterator[None]:
    """Hold a lock beside a folder that is to be written, during the block. Make the folders above it.

    Afterwards the lock is gone. So are the folders that are empty, and were not there before.

    Raises:
        UserError: Another run holds the lock. The message is `refusal`.
    """
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    try:
        with sole_holder(lock, refusal):
            try:
                yield
            finally:
                # while it is held: filelock takes no lock of a file that is gone
                lock.unlink(missing_ok=True)
    finally:
        for folder in new:
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()


@contextlib.contextmanager
def sole_holder(file: Path, refusal: str, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock of `file` during the block. The folder of `file` must exist.

    The operating system holds the lock (`flock`), so a killed run does not leave it behind, also on NFS. If
    the file system has no locks, print a warning and continue without one.

    Raises:
        UserError: Another run holds the lock for longer than `patience` seconds. The message is `refusal`.
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
        print(f"{file.parent}: this file system has no locks. Make sure that only one run writes here.")
    try:
        yield
    finally:
        lock.release()
