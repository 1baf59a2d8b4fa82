"""Write files and folders atomically, and read a part of a file as if it were a file."""

import contextlib
import errno
import io
import json
import os
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from utils.runtime.errors import WriteError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# Words in write errors of torch (PyTorchFileWriter), safetensors and C++ streams, which raise no OSError.
WRITER_COMPLAINTS = ("PytorchStreamWriter", "inline_container", "iostream error", "I/O error", "os error")


def write_text(path: Path, text: str) -> None:
    """Write `text` in UTF-8, atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` under a temporary name, flush it to disk, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def write_jsonl(path: Path, records: list[dict]) -> None:
    """Write one JSON object per line, atomically."""
    write_text(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def spellings(name: str) -> list[str]:
    """Return a name and its other Unicode forms: `à` as one character, or as `a` with a mark (macOS)."""
    return list(dict.fromkeys((name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD")))))


def real_folder(path: Path) -> Path:
    """Return the real path of a link, `.` or `..`; return any other path unchanged.

    A rename would replace the link itself, and beside `.` no temporary folder can be made.
    """
    is_plain = path.name not in ("", "..") and not path.is_symlink()
    return path if is_plain else Path(os.path.realpath(path))


@contextlib.contextmanager
def folder_written_whole(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`. Rename it to `path` if the block raises no error.

    If a run was killed, the next run removes its temporary folder. If `path` is a link, the link stays and
    its target is replaced.

    Raises:
        WriteError: The disk is full, or the folder cannot be written for another reason.
    """
    path = real_folder(path)
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        move_into_place(temporary, path)
    except Exception as error:
        reason = write_failure(error)
        if not reason or isinstance(error, WriteError):
            raise
        raise WriteError(f"{path} could not be written: {reason}. The earlier content is kept.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that is deleted afterwards. One that a killed run has left is deleted first."""
    shutil.rmtree(path, ignore_errors=True)
    try:
        path.mkdir(parents=True)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def move_into_place(temporary: Path, path: Path) -> None:
    """Flush a finished folder to disk and rename it to `path`. Two renames replace an existing folder."""
    for file in temporary.rglob("*"):
        if file.is_dir():
            flush_folder(file)
        elif file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
    flush_folder(temporary)
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    temporary.rename(path)
    flush_folder(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def delete_folder(folder: Path) -> None:
    """Rename a folder, then delete it.

    So if the process is killed, no half-deleted folder has the old name.
    """
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    folder.rename(old)
    shutil.rmtree(old, ignore_errors=True)


def flush_folder(folder: Path) -> None:
    """Flush the list of files in a folder to disk, so that they are still there after a power cut (POSIX
    only).
    """
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems do not support or need this
            raise
    finally:
        os.close(descriptor)


def write_failure(error: Exception) -> str:
    """Return why a write failed. Return an empty text if the error has another cause.

    torch and safetensors raise their own errors if the disk is full.
    """
    if isinstance(error, WriteError):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or str(error)
    own_kind = isinstance(error, RuntimeError) or type(error).__name__ == "SafetensorError"
    if own_kind and any(words in str(error) for words in WRITER_COMPLAINTS):
        return str(error).splitlines()[0]
    return ""


def link_or_copy(source: str, target: str) -> None:
    """Make a hard link, which takes no space. Copy where the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def free_disk_bytes(folder: Path) -> int:
    """Return the free bytes on the disk of a folder. The folder may not exist yet."""
    there = folder.resolve()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


class FilePart(io.RawIOBase):
    """A part of a file that behaves like a file. Other readers may use the file at the same time."""

    def __init__(self, file: IO[bytes], start: int, size: int, *, owns: bool = False) -> None:
        """Give access to `size` bytes from `start` on.

        If `owns` is true, closing the part also closes the file.
        """
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
        """Read bytes into `buffer` and return their number.

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
