"""Finds out which kind of corpus an input is, if the user does not say it."""

import itertools
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from utils.audio.reading import AUDIO_EXTENSIONS
from utils.data.archives.tree import FileTree, Folder, is_archive_name, open_tree
from utils.data.fields import printable
from utils.data.sources.hub_ids import hub_advice
from utils.data.sources.listings import stem_of
from utils.data.sources.signs import SIGNS, Contents
from utils.data.transcripts.timed_text import TRANSCRIPT_EXTENSIONS
from utils.runtime.errors import UserError

_TABLE_SUFFIXES = frozenset(("", ".tsv", ".csv", ".txt", ".json", ".jsonl", ".gz", ".scp", ".parquet"))

_IN_ONE_FILE = ("manifest", "nemo", "lhotse")  # the others have several files

MOST_TABLES = 200  # that are looked into, the topmost first


@dataclass(frozen=True)
class Recognised:
    """The name of a source, and the reason in words."""

    source: str
    reason: str

    def __str__(self) -> str:
        return f"Read as {SIGNS[self.source].read_as}, because {self.reason}; --source overrides."


def recognise(input: str) -> Recognised:
    """Find the kind of source that an input is.

    Args:
        input: A folder, an archive or a manifest. Archives are not unpacked.

    Raises:
        UserError: There is no such input, or it may be several kinds of source, or none is recognised.
    """
    path = Path(input)
    if not path.exists():
        raise UserError(f"{input}: no such file or folder.{hub_advice(input)}")
    if path.is_file() and not is_archive_name(path.name):
        contents = Contents(Folder(path.parent), [path.name])
    else:
        contents = _look_over(open_tree(path))
    found = {name: reason for name, sign in SIGNS.items() if (reason := sign.find(contents))}
    if len(found) == 1:
        (source, reason), *_ = found.items()
        if path.is_file() and contents.tables == [path.name] and source not in _IN_ONE_FILE:
            raise UserError(
                f"{input}: {reason}, so it is a part of {SIGNS[source].read_as}. Give its folder."
            )
        return Recognised(source, reason)
    if found:
        several = "; or ".join(f"{SIGNS[name].read_as}, because {reason}" for name, reason in found.items())
        choice = " or ".join(f"--source {name}" for name in found)
        raise UserError(f"{input}: this may be {several}. Choose {choice}, or give a folder inside.")
    looked_for = "".join(f"\n         {name}: {sign.looked_for}" for name, sign in SIGNS.items())
    raise UserError(
        f"{input}: no known kind of corpus found. Give its kind by --source, or write a manifest "
        f"(docs/data_format.md shows each). Looked for:{looked_for}"
    )


def tell_source(input: str) -> str:
    """Find the kind of source that an input is, and print why. See `recognise`."""
    found = recognise(input)
    print(found)
    return found.source


def _look_over(tree: FileTree) -> Contents:
    """List the tables of a corpus, the topmost first, and find a recording with a transcript beside it."""
    tables: list[str] = []
    pair = None
    for names in _by_folder(tree):
        recordings = {stem_of(name): name for name in names if _suffix(name) in AUDIO_EXTENSIONS}
        for name in names:
            recording = recordings.get(stem_of(name))
            if recording and _suffix(name) in TRANSCRIPT_EXTENSIONS:
                pair = pair or (printable(recording), printable(name))
            elif _suffix(name) in _TABLE_SUFFIXES:
                tables.append(name)
    tables.sort(key=lambda name: (name.count("/"), name))
    return Contents(tree, tables[:MOST_TABLES], pair)


def _by_folder(tree: FileTree) -> Iterator[list[str]]:
    names = tree.names() if isinstance(tree, Folder) else iter(sorted(tree.names(), key=posixpath.split))
    return (list(group) for _, group in itertools.groupby(names, key=posixpath.dirname))


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
