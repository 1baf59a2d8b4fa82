"""Lists one folder at a time, so that a corpus of any size needs little memory."""

import itertools
import os
import posixpath
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from utils.audio.reading import AUDIO_EXTENSIONS
from utils.data.archives.tree import FileTree, Folder
from utils.data.archives.zip_and_tar import Archive
from utils.data.split_names import split_name
from utils.data.transcripts.timed_text import TRANSCRIPT_EXTENSIONS
from utils.runtime.problems import Problem

_ABOUT_THE_DATA = re.compile(
    r"(read[ _-]?me|licen[cs]e|copying|copyright|notice|change[ _-]?log|authors|contributors|credits|citation"
    r"|acknowledge?ments|disclaimer)(?![^\W_])",
    re.IGNORECASE,
)
"""How names of texts begin that are not transcripts, such as `README.txt` and `LICENSE-2.0.txt`."""


@dataclass(frozen=True)
class Listing:
    """The sorted names in one folder that are not hidden. `problem` says why the folder could not be read."""

    folder: Path
    recordings: list[str]
    transcripts: list[str]
    num_others: int
    num_links: int  # to folders
    problem: Problem | None = None


def describe_others(folder: Path, counts: Mapping[str, int]) -> Iterator[str]:
    if others := counts["others"]:
        yield f"{folder}: files that are neither audio nor a transcript: {others}, skipped."
    if links := counts["links"]:
        yield f"{folder}: links to folders: {links}, not followed. Give such a folder as --input."


def list_tree(tree: FileTree) -> Iterator[Listing]:
    """Yield all folders of a corpus in a folder or archive."""
    return list_folders(tree.root) if isinstance(tree, Folder) else list_archive(tree)


def list_folders(top: Path) -> Iterator[Listing]:
    """Yield `top` and all folders below it that are not hidden, in sorted order."""
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                visible = {entry.name: entry for entry in entries if not entry.name.startswith(".")}
        except OSError as error:
            problem = Problem("unreadable folder", f"{error.strerror}; give permission to read it")
            yield Listing(folder, [], [], 0, 0, problem)
            continue
        subfolders = sorted(name for name, entry in visible.items() if _is_folder(entry))
        own = [name for name in subfolders if not visible[name].is_symlink()]
        waiting += [folder / name for name in reversed(own)]
        yield _sort_names(folder, sorted(visible.keys() - subfolders), len(subfolders) - len(own))


def list_archive(archive: Archive) -> Iterator[Listing]:
    """Yield all folders in an archive, as `list_folders` does. Their paths begin with that of the archive."""
    by_folder: dict[PurePosixPath, list[str]] = {}
    for path in map(PurePosixPath, archive.names()):
        by_folder.setdefault(path.parent, []).append(path.name)
    for folder in sorted(by_folder):
        yield _sort_names(archive.root / folder, sorted(by_folder[folder]), 0)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _sort_names(folder: Path, names: Sequence[str], num_links: int) -> Listing:
    """Divide the names of files into recordings, transcripts and others.

    A .json, or a text such as README.txt, is a transcript only beside a recording of its name, because many
    folders have one that describes the data.
    """
    suffixes = {name: PurePath(name).suffix.lower() for name in names}
    recordings = [name for name in names if suffixes[name] in AUDIO_EXTENSIONS]
    stems = {stem_of(name) for name in recordings}
    transcripts = [
        name
        for name in names
        if suffixes[name] in TRANSCRIPT_EXTENSIONS
        and (stem_of(name) in stems or not (suffixes[name] == ".json" or _ABOUT_THE_DATA.match(name)))
    ]
    num_others = len(names) - len(recordings) - len(transcripts)
    return Listing(folder, recordings, transcripts, num_others, num_links)


def top_of(tree: FileTree) -> Path:
    """Return the folder whose subfolders may give the split.

    In many archives, all files are in one folder with the name of the corpus.
    """
    if isinstance(tree, Folder):
        return tree.root
    paths = [PurePosixPath(name) for name in tree.names()]
    folders = {str(path.parent) for path in paths if path.suffix.lower() in AUDIO_EXTENSIONS}
    common = PurePosixPath(posixpath.commonpath(folders)).parts if folders else ()
    return tree.root.joinpath(*itertools.takewhile(lambda part: split_name(part) is None, common))


def subfolder_of(folder: Path, top: Path) -> str:
    """Return the first folder below `top` on the path to a folder. Return `.` if the folder is not below."""
    return folder.relative_to(top).parts[0] if top in folder.parents else "."


def stem_of(name: str) -> str:
    """Return the stem in one Unicode form, because a recording and its transcript may come from different
    systems.
    """
    return unicodedata.normalize("NFC", PurePath(name).stem)


def preference_of(name: str) -> tuple[int, str]:
    return TRANSCRIPT_EXTENSIONS.index(PurePath(name).suffix.lower()), name
