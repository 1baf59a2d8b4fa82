"""Members of tar and zip archives, read in place: nothing is unpacked to a path of the archive's choosing."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ArchiveMember:
    """A file inside an archive; `name` is its path there."""

    archive: Path
    name: str
