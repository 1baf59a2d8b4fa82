"""The one error a user may see without a traceback: what was found, what was expected, what to do."""

import contextlib
import sys
from collections.abc import Iterator


class UserError(Exception):
    """A mistake in the input or the arguments; its text alone must tell the user what to do."""


@contextlib.contextmanager
def user_errors_end_the_script() -> Iterator[None]:
    """Turn a `UserError` into its message on standard error and exit status 2, without a traceback."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
