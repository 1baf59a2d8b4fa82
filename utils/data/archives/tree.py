"""Opens a corpus in a folder, or in a zip or tar archive without unpacking it, and finds its tables.

No path in an archive is ever used to write a file. Tables are read as streams. Audio becomes an
`ArchiveMember`. A worker process later reads it at its position. In a compressed tar, positions cannot be
reached directly, so its audio is read from front to back (`read_archived`).
"""

import fnmatch
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from utils.data.archives.members import BROKEN_ARCHIVE
from utils.data.archives.zip_and_tar import Archive, is_clutter, list_tar, list_zip, outside, plain_name
from utils.runtime.errors import UserError

_MAGIC = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"PK\x03\x04": "zip", b"PK\x05\x06": "zip"}


class Folder:
    """A corpus in an unpacked folder. See `Archive` for the methods."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __contains__(self, name: str) -> bool:
        plain = plain_name(name)
        try:
            return plain is not None and (self.root / plain).is_file()
        except (OSError, ValueError):  # the name is too long or has a NUL character
            return False

    def names(self) -> Iterator[str]:
        for folder, folders, files in os.walk(self.root):
            folders[:] = sorted(name for name in folders if not is_clutter(name))
            relative = Path(folder).relative_to(self.root).as_posix()
            prefix = "" if relative == "." else f"{relative}/"
            yield from (f"{prefix}{name}" for name in sorted(files) if not is_clutter(name))

    def open(self, name: str) -> BinaryIO:
        try:
            return (self.root / name).open("rb")
        except (OSError, ValueError) as error:
            raise UserError(f"{self.root / name}: cannot be read: {error}.") from error

    def audio(self, name: str) -> Path:
        plain = plain_name(name)
        if plain is None:
            raise outside(name)
        return self.root / plain


FileTree = Folder | Archive


def open_tree(path: Path) -> FileTree:
    """Open a folder, a zip, a tar, or a tar compressed by gzip, bzip2 or xz.

    The members of an archive are listed once. To list a compressed tar, all of it must be read.

    Raises:
        UserError: The file does not exist, is not an archive, or is damaged or unsafe as a whole.
    """
    if path.is_dir():
        return Folder(path)
    if not path.is_file():
        raise UserError(
            f"{path}: no such file or folder. --input must name a corpus, as a folder or archive."
        )
    kind, status = _recognise(path), path.stat()
    try:
        return _list_archive(path, kind, status.st_size, status.st_mtime_ns)
    except BROKEN_ARCHIVE as error:
        raise UserError(
            f"{path}: damaged, or not an archive: {str(error) or type(error).__name__}. Expected a folder, "
            ".zip, .tar, .tar.gz, .tar.bz2 or .tar.xz. It may be incomplete: download it again."
        ) from error


@lru_cache(maxsize=1)
def _list_archive(path: Path, kind: str, size: int, modified_ns: int) -> Archive:
    """List an archive once, although it is opened twice: to recognise its corpus, and to read it.

    Size and time are here so that an archive that was changed is listed again.
    """
    return list_zip(path) if kind == "zip" else list_tar(path, kind)


def is_archive_name(name: str) -> bool:
    return bool(re.search(r"\.(zip|tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz))$", name.lower()))


def find_files(tree: FileTree, *patterns: str) -> list[str]:
    """Return the paths of files whose names match a pattern (`*.tsv`), sorted by depth, then by name."""
    found = [n for n in tree.names() if any(fnmatch.fnmatchcase(n.rpartition("/")[2], p) for p in patterns)]
    return sorted(found, key=lambda name: (name.count("/"), name))


def _recognise(path: Path) -> str:
    """Return `zip`, or the compression of a tar."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error}.") from error
    return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), "")


def find_tables(tree: FileTree, *patterns: str, corpus: str) -> list[str]:
    """Return the files that match a pattern.

    Raises:
        UserError: There are none, so this is another corpus.
    """
    tables = find_files(tree, *patterns)
    if not tables:
        raise UserError(f"{tree.root}: no {' or '.join(patterns)}. --input must name {corpus}.")
    return tables


def choose_folder(tree: FileTree, tables: Sequence[str], chosen: str | None, expected: str) -> str:
    """Return the only folder that has tables, or the folder with the chosen name."""
    folders = sorted({posixpath.dirname(name) for name in tables})
    if not folders:
        raise UserError(f"{tree.root}: no {expected} found. Is it another corpus, or a folder inside it?")
    names = [posixpath.basename(folder) or tree.root.name.split(".")[0] for folder in folders]
    fitting = [f for f, name in zip(folders, names, strict=True) if chosen in (None, name)]
    if len(fitting) == 1:
        return fitting[0]
    there = ", ".join(names[:20])
    found = f"several languages: {there}" if fitting else f"no language {chosen!r}, but {there}"
    raise UserError(f"{tree.root}: found {found}. Name one with --dataset_config_name.")


def open_inner(tree: FileTree, name: str) -> FileTree:
    """Open an archive inside the folder of a corpus."""
    if not isinstance(tree, Folder):
        raise UserError(
            f"{tree.root}: contains another archive, {name}. Unpack the outer one and give its folder."
        )
    return open_tree(tree.root / name)
