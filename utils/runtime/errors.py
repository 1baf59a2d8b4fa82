"""The one error a user may see without a traceback: what was found, what was expected, what to do."""

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator

SECONDS_TO_BE_ENDED = 2.0  # torchrun looks ten times a second


class UserError(Exception):
    """A mistake in the input or the arguments; its text alone must tell the user what to do."""


class WriteError(UserError):
    """Something could not be written, most often because the disk is full; what was there before is kept."""


@contextlib.contextmanager
def user_errors_end_the_script() -> Iterator[None]:
    """Turn a `UserError` into its message on standard error and exit status 2, without a traceback.

    A full disk, a folder without permission and Ctrl-C get the same treatment. Of several processes the first
    one speaks at once. Another one waits: where all have failed alike, the launcher ends it meanwhile.
    """
    try:
        yield
    except KeyboardInterrupt:
        _end("interrupted. What was finished is kept; the same command goes on.", 130)
    except UserError as error:
        _end(str(error), 2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        _end(f"{error.filename or 'writing'}: {error.strerror}. What was finished is kept.", 2)


def _end(message: str, status: int) -> None:
    rank = os.environ.get("RANK", "0")
    if rank != "0":
        time.sleep(SECONDS_TO_BE_ENDED)
        message = f"process {rank}: {message}"
    print(f"error: {message}", file=sys.stderr, flush=True)
    raise SystemExit(status)
