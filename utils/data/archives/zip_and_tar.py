"""Lists the members of zip and tar archives, and refuses some of them."""

import io
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

from utils.data.archives.members import (
    BROKEN_ARCHIVE,
    MOST_RATIO,
    OPENERS,
    ArchiveMember,
    is_bomb,
    read_member,
    size_problem,
)
from utils.runtime.errors import UserError
from utils.runtime.files import FilePart
from utils.runtime.problems import BadItem, Problem

MOST_HEADER_BYTES = 1 << 20  # of a tar header; a hostile one claims gigabytes, and `tarfile` would read them

SMALL_BYTES = 16 << 20  # tables up to this size are read at once

# Files that readers of corpora open. All others in a compressed tar are skipped when it is opened.
TABLE_SUFFIXES = frozenset(
    [
        "",
        ".tsv",
        ".csv",
        ".txt",
        ".json",
        ".jsonl",
        ".gz",
        ".scp",
        ".srt",
        ".vtt",
        ".textgrid",
        ".eaf",
        ".labels",
    ]
)


class Archive:
    """A corpus in one zip or tar.

    Args:
        root: The archive.
        tables: File into which the tables of a compressed tar are copied.
    """

    def __init__(self, root: Path, tables: BinaryIO | None = None) -> None:
        self.root, self.tables = root, tables
        self._members: dict[str, ArchiveMember] = {}
        self._unusable: dict[str, Problem] = {}
        self.places: dict[str, tuple[int, int]] = {}  # offset and bytes of each copied table

    def add(self, member: ArchiveMember, problem: Problem | None) -> None:
        """Add a file.

        If a name occurs twice, neither file is used, because it is not clear which one is meant.
        """
        name = member.name
        if self._members.pop(name, None) or name in self._unusable:
            problem = Problem("duplicate name", f"{self.root.name} has several files named {name}")
        if problem:
            self._unusable[name] = problem
        else:
            self._members[name] = member

    def __contains__(self, name: str) -> bool:
        return plain_name(name) in self._members

    def names(self) -> Iterator[str]:
        """Return the sorted paths of all files that can be read."""
        return iter(sorted(name for name in self._members if not is_clutter(name)))

    def unusable(self) -> Iterator[tuple[str, Problem]]:
        """Return the sorted paths of all other files, with the reason."""
        return iter(sorted((name, why) for name, why in self._unusable.items() if not is_clutter(name)))

    def open(self, name: str) -> BinaryIO:
        """Open a table as a stream.

        Raises:
            UserError: There is no such member, or it is damaged.
        """
        try:
            member = self._member(name)
        except BadItem as problem:
            raise UserError(f"{self.root}: {problem}.") from None
        if self.tables is not None:
            return io.BufferedReader(FilePart(self.tables, *self.places[member.name]))
        try:
            if member.packed_size is None:
                file = self.root.open("rb")
                return io.BufferedReader(FilePart(file, member.offset, member.size, owns=True))
            if member.size <= SMALL_BYTES:
                return io.BytesIO(read_member(member))
            with zipfile.ZipFile(self.root) as archive:
                info = next(i for i in archive.infolist() if i.header_offset == member.offset)
                return archive.open(info)  # type: ignore[return-value]
        except (BadItem, *BROKEN_ARCHIVE) as error:
            raise UserError(f"{self.root}: {name} cannot be read: {error}.") from error

    def audio(self, name: str) -> ArchiveMember:
        """Return the position of the audio with that name. The audio is not read yet.

        Raises:
            BadItem: There is no such member, or it is not a plain file.
        """
        return self._member(name)

    def _member(self, name: str) -> ArchiveMember:
        plain = plain_name(name)
        if plain is None:
            raise outside(name)
        if plain in self._unusable:
            problem = self._unusable[plain]
            raise BadItem(problem.kind, problem.details)
        if plain not in self._members:
            raise BadItem("no such file", f"{plain} is not in {self.root.name}")
        return self._members[plain]


def plain_name(name: str) -> str | None:
    """Remove `./` from a path and return it, or None if it leads outside the root."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts or name.startswith("/") or ".." in parts or "\0" in name or re.match("[A-Za-z]:", parts[0]):
        return None
    return "/".join(parts)


def outside(name: str) -> BadItem:
    return BadItem("path outside the corpus", f"{name!r}, expected a path below its root")


def is_clutter(name: str) -> bool:
    """Check for hidden files and files that macOS adds to archives."""
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def list_zip(path: Path) -> Archive:
    archive = Archive(path)
    with zipfile.ZipFile(path) as file:
        for info in file.infolist():
            name = plain_name(info.filename.replace("\\", "/"))  # some Windows programs write backslashes
            if name is None or info.is_dir():
                continue  # a row with this name is rejected: the path leads outside
            member = ArchiveMember(
                path,
                name,
                info.header_offset,
                info.file_size,
                packed_size=info.compress_size,
                is_deflated=info.compress_type == zipfile.ZIP_DEFLATED,
                checksum=info.CRC,
            )
            archive.add(member, _zip_problem(info))
    return archive


def _zip_problem(info: zipfile.ZipInfo) -> Problem | None:
    if info.flag_bits & 1:
        return Problem("encrypted", f"{info.filename}; unpack the archive with its password first")
    if stat.S_ISLNK(info.external_attr >> 16):
        return Problem("link", f"{info.filename} in the archive, expected a file")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return Problem(
            "unknown compression", f"method {info.compress_type}, expected stored or deflated; pack it again"
        )
    return size_problem(info.file_size, info.compress_size)


def list_tar(path: Path, compression: str) -> Archive:
    # a file without a name: only this process can open it, and it is deleted on exit
    tables = tempfile.TemporaryFile() if compression else None  # noqa: SIM115
    archive, packed_size = Archive(path, tables), path.stat().st_size  # type: ignore[arg-type]
    with OPENERS[compression](path, "rb") as file:  # type: ignore[operator]
        for info, end in _tar_headers(file):
            if compression and is_bomb(end, packed_size):
                raise tarfile.ReadError(f"it unpacks to more than {MOST_RATIO} times its size")
            name = plain_name(info.name)
            if name is None or info.isdir():
                continue
            member = ArchiveMember(path, name, info.offset_data, info.size, compression)
            archive.add(member, _tar_problem(info))
            if tables is not None and name in archive and Path(name).suffix.lower() in TABLE_SUFFIXES:
                archive.places[name] = (tables.tell(), info.size)
                shutil.copyfileobj(FilePart(file, file.tell(), info.size), tables)
    return archive


def _tar_headers(file: IO[bytes]) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Yield each member and its end.

    Before the next member is requested, the file may be read from `offset_data` on.

    Raises:
        tarfile.ReadError: The archive is damaged. `tarfile` itself would read a damaged header as the end of
        the archive.
    """
    headers = _HeaderReads(file)
    with tarfile.open(fileobj=headers, mode="r:") as archive:  # type: ignore[call-overload]
        while (info := archive.next()) is not None:
            archive.members.clear()  # else `tarfile` keeps every member
            if info.size < 0 or archive.offset <= info.offset:
                raise tarfile.ReadError("a member has a negative size")
            yield info, archive.offset
    if headers.last.strip(b"\0"):
        raise tarfile.ReadError("expected a header, found something else")


def _tar_problem(info: tarfile.TarInfo) -> Problem | None:
    if info.issym() or info.islnk():
        return Problem("link", f"{info.name} in the archive, expected a file")
    if info.issparse():
        return Problem("sparse file", f"{info.name}; pack the archive again without --sparse")
    if not info.isreg():
        return Problem("no file", f"{info.name} is a device or pipe")
    return size_problem(info.size, info.size)


class _HeaderReads:
    """A tar file for `tarfile`. It returns at most one header for each read, and keeps the last one."""

    def __init__(self, file: IO[bytes]) -> None:
        self.seek, self.tell, self._file, self.last = file.seek, file.tell, file, b""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header has {size} bytes")
        self.last = self._file.read(size)
        return self.last
