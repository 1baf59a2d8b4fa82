"""Files and folders that are written whole or not at all, and stretches of a file as files of their own."""

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

# What the writers of torch (PyTorchFileWriter), safetensors and C++ streams say in place of an OSError.
WRITER_COMPLAINTS = ("PytorchStreamWriter", "inline_container", "iostream error", "I/O error", "os error")


def write_text(path: Path, text: str) -> None:
    """Write `text` in UTF-8, whole or not at all."""
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
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def write_jsonl(path: Path, records: list[dict]) -> None:
    """Write one JSON object a line, whole or not at all."""
    write_text(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def spellings(name: str) -> list[str]:
    """A name as it is, and as other systems spell it: `à` as one character, or as `a` with a mark (macOS)."""
    return list(dict.fromkeys((name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD")))))


def real_folder(path: Path) -> Path:
    """Where a folder lies that is named by a link, or as `.` or `..`; any other path as it is.

    A link would be replaced by what is renamed to it, and `.` has no siblings.
    """
    is_plain = path.name not in ("", "..") and not path.is_symlink()
    return path if is_plain else Path(os.path.realpath(path))


@contextlib.contextmanager
def folder_written_whole(path: Path) -> Iterator[Path]:
    """Yield an empty temporary sibling of `path`; it takes that name only if the block ends without an error.

    What a killed run left under the temporary name is removed by the next one. Where `path` is a link, it
    stays, and the folder is written where it leads.

    Raises:
        WriteError: The disk is full or refuses for another reason.
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
        raise WriteError(f"{path} could not be written: {reason}. What was there before is kept.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def move_into_place(temporary: Path, path: Path) -> None:
    """Flush a finished folder to disk and give it its name; one already there is replaced in two renames."""
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
    """Delete a folder that carries its name until it goes: killed in between, no half of one is left."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    folder.rename(old)
    shutil.rmtree(old, ignore_errors=True)


def flush_folder(folder: Path) -> None:
    """Bring the names in a folder to disk, so that a file is still found after a power cut (POSIX only)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot, and need not
            raise
    finally:
        os.close(descriptor)


def write_failure(error: Exception) -> str:
    """Why something could not be written; empty for an error of another kind.

    torch and safetensors write by themselves, and tell a full disk by errors of their own.
    """
    if isinstance(error, WriteError):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or str(error)
    own_kind = isinstance(error, RuntimeError) or type(error).__name__ == "SafetensorError"
    if own_kind and any(words in str(error) for words in WRITER_COMPLAINTS):
        return str(error).splitlines()[0]
    return ""


def free_disk_bytes(folder: Path) -> int:
    """Room on the disk that a folder is on, or will be."""
    there = folder.resolve()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


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
