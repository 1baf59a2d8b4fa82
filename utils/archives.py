"""A corpus in a folder, or in a zip or tar archive that is read in place.

Nothing is unpacked to a path of the archive's choosing: tables are read as streams, and audio is named as an
`ArchiveMember`, which a worker process reads later by its place. A compressed tar has no such places; its
audio is read front to back (`read_in_order`).
"""

import bz2
import contextlib
import fnmatch
import gzip
import io
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO

from utils.errors import UserError
from utils.file_parts import FilePart

MOST_MEMBER_BYTES = 1 << 30  # a member is read whole; six hours of 16-bit speech at 16 kHz are 0.7 GB
MOST_HEADER_BYTES = 1 << 20  # of a tar header; a hostile one claims gigabytes, which `tarfile` would read
MOST_RATIO = 200  # unpacked by packed bytes; the deflate format ends at 1,032
FREE_BYTES = 64 << 20  # below this size digital silence may compress as well as it likes
SMALL_BYTES = 16 << 20  # tables up to this size are read at once

# What the readers of corpora look into: everything else in a compressed tar is passed over when it is opened.
TABLE_SUFFIXES = frozenset(("", ".tsv", ".csv", ".txt", ".json", ".jsonl", ".gz", ".scp"))

_MAGIC = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"PK\x03\x04": "zip", b"PK\x05\x06": "zip"}
_OPENERS = {"": open, "gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}

# What the standard library raises over broken or hostile archives.
BROKEN_ARCHIVE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError,
    ValueError, OverflowError, NotImplementedError, RecursionError,
)  # fmt: skip


class MemberError(Exception):
    """A file of a corpus that cannot be read; its text is the reject reason, `kind: details`."""


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """A file inside an archive; `name` is its path there.

    `offset` counts in the unpacked tar, or says where the member's local header is in a zip. `data` holds the
    bytes of a member of a compressed tar, once they have been read.
    """

    archive: Path
    name: str
    offset: int = 0
    size: int = 0  # bytes, unpacked
    compression: str = ""  # of a tar as a whole: gz, bz2, xz
    packed_size: int | None = None  # bytes in a zip; None: a tar
    is_deflated: bool = False
    checksum: int = 0  # CRC-32, in a zip
    data: bytes | None = field(default=None, compare=False, repr=False)

    @property
    def needs_order(self) -> bool:
        """Whether reading it means reading everything before it."""
        return bool(self.compression) and self.data is None


# ---- folders and archives ----------------------------------------------------------------------------------


class Folder:
    """A corpus that lies unpacked; see `Archive` for the methods."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __contains__(self, name: str) -> bool:
        plain = plain_name(name)
        try:
            return plain is not None and (self.root / plain).is_file()
        except (OSError, ValueError):  # a name too long or with a NUL character
            return False

    def names(self) -> Iterator[str]:
        for folder, folders, files in os.walk(self.root):
            folders[:] = sorted(name for name in folders if not _is_clutter(name))
            relative = Path(folder).relative_to(self.root).as_posix()
            prefix = "" if relative == "." else f"{relative}/"
            yield from (f"{prefix}{name}" for name in sorted(files) if not _is_clutter(name))

    def open(self, name: str) -> BinaryIO:
        try:
            return (self.root / name).open("rb")
        except (OSError, ValueError) as error:
            raise UserError(f"{self.root / name}: cannot be read: {error}.") from error

    def audio(self, name: str) -> Path:
        plain = plain_name(name)
        if plain is None:
            raise MemberError(_outside(name))
        return self.root / plain


class Archive:
    """A corpus in one zip or tar.

    Args:
        root: The archive.
        members: Its files by their plain names.
        unusable: Names that cannot be read, with the reasons.
        tables: Where a compressed tar's tables were set aside, and the (offset, bytes) of each.
    """

    def __init__(
        self,
        root: Path,
        members: dict[str, ArchiveMember],
        unusable: dict[str, str],
        tables: tuple[BinaryIO, dict[str, tuple[int, int]]] | None = None,
    ) -> None:
        self.root = root
        self._members, self._unusable, self._tables = members, unusable, tables

    def __contains__(self, name: str) -> bool:
        return plain_name(name) in self._members

    def names(self) -> Iterator[str]:
        """Paths of all files that can be read, sorted."""
        return iter(sorted(name for name in self._members if not _is_clutter(name)))

    def open(self, name: str) -> BinaryIO:
        """A table, to be read as a stream.

        Raises:
            UserError: There is no such member, or it is broken.
        """
        try:
            member = self._member(name)
        except MemberError as problem:
            raise UserError(f"{self.root}: {problem}.") from None
        if self._tables is not None:
            spool, places = self._tables
            return io.BufferedReader(FilePart(spool, *places[member.name]))
        try:
            if member.packed_size is None:
                file = self.root.open("rb")
                return io.BufferedReader(FilePart(file, member.offset, member.size, owns=True))
            if member.size <= SMALL_BYTES:
                return io.BytesIO(read_member(member))
            with zipfile.ZipFile(self.root) as archive:
                info = next(i for i in archive.infolist() if i.header_offset == member.offset)
                return archive.open(info)  # type: ignore[return-value]
        except (MemberError, *BROKEN_ARCHIVE) as error:
            raise UserError(f"{self.root}: {name} cannot be read: {error}.") from error

    def audio(self, name: str) -> ArchiveMember:
        """Where the audio of that name is; it is not read yet.

        Raises:
            MemberError: There is no such member, or it is no plain file.
        """
        return self._member(name)

    def _member(self, name: str) -> ArchiveMember:
        plain = plain_name(name)
        if plain is None:
            raise MemberError(_outside(name))
        if plain in self._unusable:
            raise MemberError(self._unusable[plain])
        if plain not in self._members:
            raise MemberError(f"no such file: {plain} in {self.root.name}")
        return self._members[plain]


FileTree = Folder | Archive


def open_tree(path: Path) -> FileTree:
    """Open a folder, a zip, a tar, or a tar compressed by gzip, bzip2 or xz.

    The contents of an archive are listed once; a compressed tar is read through for that.

    Raises:
        UserError: There is no such file, or it is no archive, or it is broken or hostile as a whole.
    """
    if path.is_dir():
        return Folder(path)
    if not path.is_file():
        raise UserError(
            f"{path}: no such file or folder. --input must name a corpus, as a folder or archive."
        )
    kind = _recognise(path)
    try:
        return _open_zip(path) if kind == "zip" else _open_tar(path, kind)
    except BROKEN_ARCHIVE as error:
        raise UserError(
            f"{path}: broken, or no archive: {str(error) or type(error).__name__}. Expected a folder, .zip, "
            ".tar, .tar.gz, .tar.bz2 or .tar.xz; if the name is right, it may be cut off: fetch it again."
        ) from error


def is_archive_name(name: str) -> bool:
    return bool(re.search(r"\.(zip|tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz))$", name.lower()))


def find_files(tree: FileTree, *patterns: str) -> list[str]:
    """Paths of the files whose own name fits one of the patterns (`*.tsv`): the shallowest first, by name."""
    found = [n for n in tree.names() if any(fnmatch.fnmatchcase(n.rpartition("/")[2], p) for p in patterns)]
    return sorted(found, key=lambda name: (name.count("/"), name))


def plain_name(name: str) -> str | None:
    """A path below the root without `./`, or None for one that leads elsewhere."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts or name.startswith("/") or ".." in parts or "\0" in name or re.match("[A-Za-z]:", parts[0]):
        return None
    return "/".join(parts)


def _outside(name: str) -> str:
    return f"path outside the corpus: {name!r}, expected one below its root"


def _is_clutter(name: str) -> bool:
    """What macOS adds to archives, and hidden files."""
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _recognise(path: Path) -> str:
    """`zip`, or the compression of a tar."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error}.") from error
    return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), "")


# ---- listing what is there ---------------------------------------------------------------------------------


class _Listing:
    """Members by their plain names; one that stands twice is unusable: it is not clear which is meant."""

    def __init__(self) -> None:
        self.members: dict[str, ArchiveMember] = {}
        self.unusable: dict[str, str] = {}

    def add(self, member: ArchiveMember, problem: str | None) -> None:
        name = member.name
        if name in self.members or name in self.unusable:
            self.members.pop(name, None)
            self.unusable[name] = f"duplicate name: {name} stands more than once in {member.archive.name}"
        elif problem:
            self.unusable[name] = problem
        else:
            self.members[name] = member


def _size_problem(size: int, packed_size: int) -> str | None:
    if size > MOST_MEMBER_BYTES:
        return f"too large: {size} bytes, expected at most {MOST_MEMBER_BYTES}"
    if _is_bomb(size, packed_size):
        return f"suspicious compression: {size} bytes packed in {packed_size}; pack the archive again"
    return None


def _is_bomb(size: int, packed_size: int) -> bool:
    return size > FREE_BYTES and size > MOST_RATIO * max(packed_size, 1)


def _open_zip(path: Path) -> Archive:
    listing = _Listing()
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = plain_name(info.filename.replace("\\", "/"))  # some Windows programs write backslashes
            if name is None or info.is_dir():
                continue  # a row that names it is told that the path leads outside
            member = ArchiveMember(
                path,
                name,
                info.header_offset,
                info.file_size,
                packed_size=info.compress_size,
                is_deflated=info.compress_type == zipfile.ZIP_DEFLATED,
                checksum=info.CRC,
            )
            listing.add(member, _zip_problem(info))
    return Archive(path, listing.members, listing.unusable)


def _zip_problem(info: zipfile.ZipInfo) -> str | None:
    if info.flag_bits & 1:
        return f"encrypted: {info.filename}; unpack the archive with its password first"
    if stat.S_ISLNK(info.external_attr >> 16):
        return f"link: {info.filename} in the archive, expected a file"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"unknown compression: method {info.compress_type}, expected stored or deflated; pack it again"
    return _size_problem(info.file_size, info.compress_size)


def _open_tar(path: Path, compression: str) -> Archive:
    listing, packed_size = _Listing(), path.stat().st_size
    tables: dict[str, tuple[int, int]] = {}
    spool: BinaryIO | None = _temporary_file() if compression else None
    with _OPENERS[compression](path, "rb") as file:  # type: ignore[operator]
        for info, end in _tar_headers(file):
            if compression and _is_bomb(end, packed_size):
                raise tarfile.ReadError(f"it unpacks to more than {MOST_RATIO} times its size")
            name = plain_name(info.name)
            if name is None or info.isdir():
                continue
            member = ArchiveMember(path, name, info.offset_data, info.size, compression)
            listing.add(member, _tar_problem(info))
            if spool is not None and name in listing.members and Path(name).suffix.lower() in TABLE_SUFFIXES:
                tables[name] = (spool.tell(), info.size)
                _copy(file, spool, info.size)
    return Archive(path, listing.members, listing.unusable, (spool, tables) if spool is not None else None)


def _temporary_file() -> BinaryIO:
    """A file without a name, which only this process can reach and which goes with it."""
    return tempfile.TemporaryFile()  # type: ignore[return-value]


def _tar_headers(file: IO[bytes]) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Yield each member and where it ends; the file may be read between them, from `offset_data` on.

    Raises:
        tarfile.ReadError: The archive is broken: `tarfile` itself takes a bad header for the end.
    """
    headers = _HeaderReads(file)
    with tarfile.open(fileobj=headers, mode="r:") as archive:  # type: ignore[call-overload]
        while (info := archive.next()) is not None:
            archive.members.clear()  # it would remember every member
            if info.size < 0 or archive.offset <= info.offset:
                raise tarfile.ReadError("a member of negative size")
            yield info, archive.offset
    if headers.last.strip(b"\0"):
        raise tarfile.ReadError("found something else where a header should be")


def _tar_problem(info: tarfile.TarInfo) -> str | None:
    if info.issym() or info.islnk():
        return f"link: {info.name} in the archive, expected a file"
    if info.issparse():
        return f"sparse file: {info.name}; pack the archive again without --sparse"
    if not info.isreg():
        return f"no file: {info.name} is a device or pipe"
    if info.size > MOST_MEMBER_BYTES:
        return f"too large: {info.size} bytes, expected at most {MOST_MEMBER_BYTES}"
    return None


class _HeaderReads:
    """A tar as `tarfile` sees it: it gets no more than a header at a time, and what it saw last is kept."""

    def __init__(self, file: IO[bytes]) -> None:
        self.seek, self.tell, self._file, self.last = file.seek, file.tell, file, b""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        self.last = self._file.read(size)
        return self.last


def _copy(file: IO[bytes], target: BinaryIO, size: int) -> None:
    part = io.BufferedReader(FilePart(file, file.tell(), size))
    shutil.copyfileobj(part, target)
    part.detach()


# ---- reading members ---------------------------------------------------------------------------------------


def read_member(member: ArchiveMember) -> bytes:
    """The bytes of a member, found by its place; in a compressed tar that reads everything before it.

    Raises:
        MemberError: The archive is gone, was changed or is broken.
    """
    if member.data is not None:
        return member.data
    try:
        with _OPENERS[member.compression](member.archive, "rb") as file:  # type: ignore[operator]
            if member.packed_size is None:
                return _read_exactly(file, member.offset, member.size)
            return _read_zipped(file, member)
    except BROKEN_ARCHIVE as error:
        raise MemberError(f"broken archive: {member.name} in {member.archive.name}: {error}") from None


def read_in_order(members: Iterable[ArchiveMember]) -> Iterator[ArchiveMember]:
    """Members of one compressed tar with their data, read front to back in one go.

    Args:
        members: Sorted by offset.

    Raises:
        UserError: The archive was changed since it was opened.
    """
    with contextlib.ExitStack() as stack:
        file, archive = None, Path()
        for member in members:
            try:
                if file is None:
                    archive = member.archive
                    file = stack.enter_context(_OPENERS[member.compression](archive, "rb"))  # type: ignore[operator]
                data = _read_exactly(file, member.offset, member.size)
            except BROKEN_ARCHIVE as error:
                raise UserError(f"{archive}: broken, or changed while it was read: {error}.") from error
            yield ArchiveMember(
                archive, member.name, member.offset, member.size, member.compression, data=data
            )


def _read_exactly(file: IO[bytes], offset: int, size: int) -> bytes:
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise EOFError(f"found {len(data)} bytes, expected {size}")
    return data


def _read_zipped(file: IO[bytes], member: ArchiveMember) -> bytes:
    """Read by the local header: opening a zip the usual way lists all its members each time.

    Format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, sections 4.3.7 and 4.4.
    """
    header = _read_exactly(file, member.offset, 30)
    if header[:4] != b"PK\x03\x04":
        raise zipfile.BadZipFile("no header where the directory says")
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    packed = _read_exactly(file, member.offset + 30 + name_length + extra_length, member.packed_size or 0)
    # a raw deflate stream; no more than the size that was announced
    data = zlib.decompressobj(-15).decompress(packed, member.size + 1) if member.is_deflated else packed
    if len(data) != member.size or zlib.crc32(data) != member.checksum:
        raise zipfile.BadZipFile("size or checksum are not what the directory says")
    return data
