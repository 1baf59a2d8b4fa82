"""Lists one folder at a time, so that a corpus of any size needs little memory."""

import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from utils.audio.reading import AUDIO_EXTENSIONS
from utils.data.transcripts.timed_text import TRANSCRIPT_EXTENSIONS
from utils.runtime.problems import Problem


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


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _sort_names(folder: Path, names: Sequence[str], num_links: int) -> Listing:
    """Divide the names of files into recordings, transcripts and others.

    A .json is a transcript only beside a recording, because many folders have one that describes the data.
    """
    suffixes = {name: PurePath(name).suffix.lower() for name in names}
    recordings = [name for name in names if suffixes[name] in AUDIO_EXTENSIONS]
    stems = {stem_of(name) for name in recordings}
    transcripts = [
        name
        for name in names
        if suffixes[name] in TRANSCRIPT_EXTENSIONS and (suffixes[name] != ".json" or stem_of(name) in stems)
    ]
    num_others = len(names) - len(recordings) - len(transcripts)
    return Listing(folder, recordings, transcripts, num_others, num_links)


def subfolder_of(folder: Path, top: Path) -> str:
    """Return the first folder below `top` on the path to a folder. Return `.` for `top` itself."""
    return next(iter(folder.relative_to(top).parts), ".")


def stem_of(name: str) -> str:
    """Return the stem in one Unicode form, because a recording and its transcript may come from different
    systems.
    """
    return unicodedata.normalize("NFC", PurePath(name).stem)


def preference_of(name: str) -> tuple[int, str]:
    return TRANSCRIPT_EXTENSIONS.index(PurePath(name).suffix.lower()), name
