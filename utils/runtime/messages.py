"""Words of the lines that scripts print."""

import os


def counted(number: int, noun: str) -> str:
    """Write a number of things, such as `1 clip` or `2,000 clips`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def next_step_is_automatic() -> bool:
    """Check whether the next script runs by itself, so that nobody needs its command: see the Makefile."""
    return os.environ.get("NEXT_IS_AUTOMATIC", "") != ""
