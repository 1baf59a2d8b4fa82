"""Loads transcripts that are files in a folder or archive."""

from pathlib import Path

from utils.data.archives.members import BROKEN_ARCHIVE
from utils.data.archives.tree import FileTree, Folder
from utils.data.archives.zip_and_tar import Archive
from utils.data.transcripts.timed_text import decode_transcript
from utils.runtime.errors import UserError
from utils.runtime.problems import BadItem

MOST_TRANSCRIPT_BYTES = 64 << 20
"""A larger transcript is rejected, because all of it would be in memory."""


def load_transcript(tree: FileTree, path: Path) -> str:
    """Read the text of a transcript.

    Args:
        tree: The corpus.
        path: Path of the transcript. It begins with the root of the corpus.

    Raises:
        BadItem: It is not a file, is too large, or has no known encoding.
    """
    return decode_transcript(_read_file(path) if isinstance(tree, Folder) else _read_member(tree, path))


def _read_file(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise BadItem("unreadable transcript", "a broken link, or not an ordinary file")
        _check_size(path.stat().st_size)
        return path.read_bytes()
    except OSError as error:
        raise BadItem("unreadable transcript", f"{error.strerror}; give permission to read it") from None


def _read_member(archive: Archive, path: Path) -> bytes:
    try:
        with archive.open(path.relative_to(archive.root).as_posix()) as file:
            data = file.read(MOST_TRANSCRIPT_BYTES + 1)
    except (UserError, *BROKEN_ARCHIVE) as error:
        raise BadItem("unreadable transcript", str(error) or type(error).__name__) from None
    _check_size(len(data))
    return data


def _check_size(size: int) -> None:
    if size > MOST_TRANSCRIPT_BYTES:
        most = MOST_TRANSCRIPT_BYTES >> 20
        raise BadItem("transcript too large", f"{size >> 20} MiB, expected at most {most} MiB")
