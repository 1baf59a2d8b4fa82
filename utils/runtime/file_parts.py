"""A stretch of a file as a file of its own."""

import io
import os
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class FilePart(io.RawIOBase):
    """Some bytes of a file as a file of its own; others may read the file in between."""

    def __init__(self, file: IO[bytes], start: int, size: int, *, owns: bool = False) -> None:
        """`size` bytes from `start` on; one that owns the file closes it when it is closed itself."""
        self._file, self._start, self._size, self._owns = file, start, size, owns
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(base + offset, 0)
        return self._place

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read what is there.

        Raises:
            EOFError: The file ends before the part does.
        """
        view = memoryview(buffer)
        left = max(self._size - self._place, 0)
        if self._file.tell() != self._start + self._place:  # seeking in a compressed file is slow
            self._file.seek(self._start + self._place)
        data = self._file.read(min(len(view), left))
        if not data and left and len(view):
            raise EOFError(f"the file ends {left} bytes too early")
        view[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        if self._owns:
            self._file.close()
        super().close()
