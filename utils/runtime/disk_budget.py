"""Keep a folder within a number of bytes, as if its disk were that small."""

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from utils.runtime.errors import WriteError
from utils.runtime.files import free_disk_bytes

UNITS = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def read_size(text: str) -> int | None:
    """Return the bytes of a size such as 800M, 12G or 1.5TB. None if the text is no size."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT])B?", text.strip(), re.IGNORECASE)
    return round(float(match[1]) * UNITS[match[2].upper()]) if match else None


def show_size(size_bytes: float) -> str:
    """Write a number of bytes in GB, or in MB below 1 GB."""
    return f"{size_bytes / 1e9:.2f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"


def folder_bytes(folder: Path) -> int:
    """Return the bytes that the files of a folder take on disk.

    Hard links to the same file count once. Empty parts of a sparse file do not count. Files that are deleted
    during the call may or may not count.
    """
    taken: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                found = os.lstat(Path(parent) / name)
                blocks = getattr(found, "st_blocks", None)  # missing on Windows
                size_bytes = found.st_size if blocks is None else 512 * blocks
                taken[found.st_dev, found.st_ino] = size_bytes
    return sum(taken.values())


@dataclass(frozen=True)
class DiskBudget:
    """The bytes that a folder may take. None: as many as its disk has."""

    folder: Path
    limit_bytes: int | None = None

    def free_bytes(self) -> int:
        """Return how many more bytes may be written: what the disk and the budget both allow."""
        free = free_disk_bytes(self.folder)
        if self.limit_bytes is None:
            return free
        return min(free, self.limit_bytes - folder_bytes(self.folder))

    def check_room(self, folder: Path, needed_bytes: int) -> None:
        """Check that a folder of this size stays within the budget. A disk tells by itself when it is full.

        Raises:
            WriteError: It does not.
        """
        if self.limit_bytes is None:
            return
        if reason := self.why_too_small(needed_bytes):
            raise WriteError(f"{folder} could not be written: {reason}. The earlier content is kept.")

    def why_too_small(self, needed_bytes: int) -> str:
        """Return why so many bytes may not be written. Return an empty text if they may."""
        free = self.free_bytes()
        if free >= needed_bytes:
            return ""
        owner = "the disk has" if self.limit_bytes is None else "the disk, or disk_budget, has"
        return f"{owner} {show_size(max(free, 0))} left, {show_size(needed_bytes)} are needed"
