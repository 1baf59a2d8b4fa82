"""Members of an archive, and how each is read where it lies."""

import bz2
import contextlib
import gzip
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from utils.runtime.errors import UserError
from utils.runtime.problems import BadItem, Problem

MOST_MEMBER_BYTES = 1 << 30  # a member is read whole; six hours of 16-bit speech at 16 kHz are 0.7 GB

MOST_RATIO = 200  # unpacked by packed bytes; the deflate format ends at 1,032

FREE_BYTES = 64 << 20  # below this size digital silence may compress as well as it likes

OPENERS = {"": open, "gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}

# What the standard library raises over broken or hostile archives.
BROKEN_ARCHIVE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError,
    ValueError, OverflowError, NotImplementedError, RecursionError,
)  # fmt: skip


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


def size_problem(size: int, packed_size: int) -> Problem | None:
    if size > MOST_MEMBER_BYTES:
        return Problem("too large", f"{size} bytes, expected at most {MOST_MEMBER_BYTES}")
    if is_bomb(size, packed_size):
        return Problem(
            "suspicious compression", f"{size} bytes packed in {packed_size}; pack the archive again"
        )
    return None


def is_bomb(size: int, packed_size: int) -> bool:
    return size > FREE_BYTES and size > MOST_RATIO * max(packed_size, 1)


def read_member(member: ArchiveMember) -> bytes:
    """The bytes of a member, found by its place; in a compressed tar that reads everything before it.

    Raises:
        BadItem: The archive is gone, was changed or is broken.
    """
    if member.data is not None:
        return member.data
    try:
        with OPENERS[member.compression](member.archive, "rb") as file:  # type: ignore[operator]
            if member.packed_size is None:
                return _read_exactly(file, member.offset, member.size)
            return _read_zipped(file, member)
    except BROKEN_ARCHIVE as error:
        raise BadItem("broken archive", f"{member.name} in {member.archive.name}: {error}") from None


def read_archived(members: Iterable[ArchiveMember]) -> Iterator[ArchiveMember]:
    """Members of one compressed tar with their data, read front to back in one go.

    Args:
        members: Sorted by offset.

    Raises:
        UserError: The archive was changed since it was opened.
    """
    with contextlib.ExitStack() as stack:
        file = None
        for member in members:
            try:
                file = file or stack.enter_context(OPENERS[member.compression](member.archive, "rb"))  # type: ignore[operator]
                data = _read_exactly(file, member.offset, member.size)
            except BROKEN_ARCHIVE as error:
                raise UserError(
                    f"{member.archive}: broken, or changed while it was read: {error}."
                ) from error
            yield replace(member, data=data)


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
