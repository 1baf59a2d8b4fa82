"""The one error a user may see without a traceback: what was found, what was expected, what to do."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator


class UserError(Exception):
    """A mistake in the input or the arguments; its text alone must tell the user what to do."""


class WriteError(UserError):
    """Something could not be written, most often because the disk is full; what was there before is kept."""


@contextlib.contextmanager
def user_errors_end_the_script() -> Iterator[None]:
    """Turn a `UserError` into its message on standard error and exit status 2, without a traceback.

    A full disk, a folder without permission and Ctrl-C get the same treatment. Of several processes only the
    first one speaks.
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
    if os.environ.get("RANK", "0") == "0":
        print(f"error: {message}", file=sys.stderr)
    raise SystemExit(status)
