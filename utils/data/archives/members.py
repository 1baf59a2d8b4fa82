"""Read members of an archive directly from their position in it."""

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

MOST_MEMBER_BYTES = 1 << 30  # a member is read whole; six hours of 16-bit speech at 16 kHz have 0.7 GB

MOST_RATIO = 200  # unpacked divided by packed bytes; deflate reaches at most 1,032

FREE_BYTES = 64 << 20  # smaller members may have any ratio: digital silence compresses very well

OPENERS = {"": open, "gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}

# Errors of the standard library for damaged or hostile archives.
BROKEN_ARCHIVE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError,
    ValueError, OverflowError, NotImplementedError, RecursionError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """A file in an archive. `name` is its path in the archive.

    `offset` is its position in the unpacked tar, or the position of its local header in a zip. For a member
    of a compressed tar, `data` holds its bytes after they were read.
    """

    archive: Path
    name: str
    offset: int = 0
    size: int = 0  # bytes, unpacked
    compression: str = ""  # of the whole tar: gz, bz2, xz
    packed_size: int | None = None  # bytes in a zip; None: a tar
    is_deflated: bool = False
    checksum: int = 0  # CRC-32, in a zip
    data: bytes | None = field(default=None, compare=False, repr=False)

    @property
    def needs_order(self) -> bool:
        """Check whether everything before it in the archive must be read first."""
        return bool(self.compression) and self.data is None


def size_problem(size: int, packed_size: int) -> Problem | None:
    if size > MOST_MEMBER_BYTES:
        return Problem("too large", f"{size} bytes, expected at most {MOST_MEMBER_BYTES}")
    if is_bomb(size, packed_size):
        return Problem(
            "suspicious compression", f"{size} bytes packed into {packed_size}; pack the archive again"
        )
    return None


def is_bomb(size: int, packed_size: int) -> bool:
    return size > FREE_BYTES and size > MOST_RATIO * max(packed_size, 1)


def read_member(member: ArchiveMember) -> bytes:
    """Read the bytes of a member at its position. In a compressed tar, this also reads everything before it.

    Raises:
        BadItem: The archive is missing, changed or damaged.
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
    """Yield members of one compressed tar with their data. The tar is read once, from front to back.

    Args:
        members: Sorted by offset.

    Raises:
        UserError: The archive was changed after it was opened.
    """
    with contextlib.ExitStack() as stack:
        file = None
        for member in members:
            try:
                file = file or stack.enter_context(OPENERS[member.compression](member.archive, "rb"))  # type: ignore[operator]
                data = _read_exactly(file, member.offset, member.size)
            except BROKEN_ARCHIVE as error:
                raise UserError(
                    f"{member.archive}: damaged, or changed while it was read: {error}."
                ) from error
            yield replace(member, data=data)


def _read_exactly(file: IO[bytes], offset: int, size: int) -> bytes:
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise EOFError(f"found {len(data)} bytes, expected {size}")
    return data


def _read_zipped(file: IO[bytes], member: ArchiveMember) -> bytes:
    """Read a member by its local header.

    To open the zip in the usual way would list all its members each time. Format:
    https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, sections 4.3.7 and 4.4.
    """
    header = _read_exactly(file, member.offset, 30)
    if header[:4] != b"PK\x03\x04":
        raise zipfile.BadZipFile("no local header at the position that the directory gives")
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    packed = _read_exactly(file, member.offset + 30 + name_length + extra_length, member.packed_size or 0)
    # a raw deflate stream; read at most the announced size
    data = zlib.decompressobj(-15).decompress(packed, member.size + 1) if member.is_deflated else packed
    if len(data) != member.size or zlib.crc32(data) != member.checksum:
        raise zipfile.BadZipFile("size or checksum differ from the directory")
    return data
