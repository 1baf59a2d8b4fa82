"""Read a list from a text file: one item on each line, without blank lines and lines that start with #."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from utils.runtime.errors import UserError

MOST_LIST_BYTES = 16 << 20


def check_list_file(path: Path, item: str) -> None:
    """Check that a list is a UTF-8 text file of a sensible size.

    Args:
        path: The file.
        item: What is on each line, such as `term`, for the message.

    Raises:
        UserError: There is no such file, or it is something else.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file. Expected a text file with a {item} on each line.")
    with path.open("rb") as file:
        data = file.read(MOST_LIST_BYTES + 1)
    if len(data) > MOST_LIST_BYTES:
        raise UserError(f"{path}: over {MOST_LIST_BYTES >> 20} MiB. Expected a list of {item}s.")
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = "UTF-16" if is_utf16 else f"a byte that is not UTF-8 in line {line}"
        raise UserError(f"{path}: found {found}. Save the file as UTF-8 text.") from None
    if b"\0" in data:
        raise UserError(f"{path}: found a NUL character. Expected UTF-8 text with a {item} on each line.")


def read_list_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that holds an item. A byte order mark is not part of it."""
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line
