"""Errors that a user sees without a traceback: what was found, what was expected, what to do."""

import contextlib
import errno
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

SECONDS_TO_BE_ENDED = 2.0  # torchrun checks its processes ten times a second


OF_THE_USER = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
)
"""Errors of files and folders that tell what to do."""


class UserError(Exception):
    """A mistake in the input or the arguments. The message must tell the user what to do."""


class WriteError(UserError):
    """A file could not be written, usually because the disk is full. Earlier files are kept."""


@contextlib.contextmanager
def user_errors_end_the_script() -> Iterator[None]:
    """Print a `UserError` on standard error and exit with status 2, without a traceback.

    A full disk, a missing permission, an impossible path and Ctrl-C are reported in the same way. The first
    process prints at once. The others wait: if all fail with the same error, the launcher ends them before
    they print it again.
    """
    try:
        yield
    except KeyboardInterrupt:
        _end("interrupted. Finished work is kept. Run the same command again to continue.", 130)
    except UserError as error:
        _end(str(error), 2)
    except ModuleNotFoundError as error:
        if not _is_required(error.name):
            raise
        _end(f"{error.name}: not installed. Run: make install && source .venv/bin/activate", 2)
    except OSError as error:
        if error.errno not in OF_THE_USER:
            raise
        _end(f"{error.filename or 'writing'}: {error.strerror}. Finished work is kept.", 2)


def _is_required(package: str | None) -> bool:
    """Check whether a missing package is one of requirements.txt, such as outside of the environment."""
    required = Path(__file__).parents[2] / "requirements.txt"
    names = re.findall(r"^[\w-]+", required.read_text(encoding="utf-8"), re.MULTILINE)
    return package is not None and package.replace("_", "-") in {*names, "yaml"}


def _end(message: str, status: int) -> None:
    rank = os.environ.get("RANK", "0")
    if rank != "0":
        time.sleep(SECONDS_TO_BE_ENDED)
        message = f"process {rank}: {message}"
    print(f"error: {message}", file=sys.stderr, flush=True)
    if told := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        # torchrun prints a traceback of itself, and the message at its end; no setting of it prevents this
        print("A report of the launcher follows. It only repeats this error.", file=sys.stderr, flush=True)
        with contextlib.suppress(OSError):
            Path(told).write_text(json.dumps({"message": message, "timestamp": int(time.time())}))
    raise SystemExit(status)
