"""Turns rows of a corpus into utterances and finds their audio.

The utterances have an order in which archives are fast to read.
"""

import math
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from utils.audio.reading import AUDIO_EXTENSIONS
from utils.data.archives.tree import FileTree, Folder, find_files, open_tree
from utils.data.decimals import read_decimal
from utils.data.fields import printable, shown, usable_id
from utils.data.sources.ordering import in_archive_order, recordings_together
from utils.data.sources.tables import Row
from utils.data.split_names import split_name
from utils.data.utterance import Audio, Items, Reject, Source, Utterance
from utils.runtime.problems import BadItem, Problem


def rows_as_source(
    read_rows: Callable[[], Iterable[Row | Reject]],
    read_row: Callable[[Row], Utterance],
    notes: Sequence[str] = (),
    *,
    total: int | None = None,
    are_parts: bool = False,
) -> Source:
    """Build a source from rows. The rows are read again for the utterances.

    Args:
        read_rows: Function that reads all rows from the beginning.
        read_row: Function that makes the utterance of a row. It raises BadItem if the row must be rejected.
        notes: Notes of the source.
        total: Number of rows, if they were counted already.
        are_parts: Whether rows may be parts of a recording. Then rows of one recording follow each other.
    """
    total = sum(1 for _ in read_rows()) if total is None else total
    return Source(Items(partial(_read_items, read_rows, read_row, are_parts)), total, notes=tuple(notes))


def _read_items(
    read_rows: Callable[[], Iterable[Row | Reject]], read_row: Callable[[Row], Utterance], are_parts: bool
) -> Iterator[Utterance | Reject]:
    items = in_archive_order(_utterances(read_rows(), read_row))
    return recordings_together(items) if are_parts else items


def _utterances(
    rows: Iterable[Row | Reject], read_row: Callable[[Row], Utterance]
) -> Iterator[Utterance | Reject]:
    ids = set[str]()
    for row in rows:
        if isinstance(row, Reject):
            yield row
            continue
        try:
            utterance = read_row(row)
            usable_id(utterance.id)
            if utterance.id in ids:
                raise BadItem("duplicate id", f"{utterance.id} is used by an earlier row")
        except BadItem as error:
            yield Reject(row.source, row.line, error.problem)
            continue
        ids.add(utterance.id)
        yield utterance


def split_in_name(name: str) -> str | None:
    """Return the split in the name of a file (`intron-dev-public.csv`) or of its folder, or None."""
    parts = [piece for part in reversed(name.split("/")) for piece in re.split(r"[._\-]", part)]
    return next(filter(None, map(split_name, parts)), None)


def and_unlisted(
    rows: Iterable[Row | Reject], tree: FileTree, audio_of: Callable[[Row], str], table: str
) -> Iterator[Row | Reject]:
    """Yield the rows, and then a reject for each audio file that is in no row."""
    listed = set[str]()
    for row in rows:
        if isinstance(row, Row):
            listed.add(audio_of(row))
        yield row
    for name in tree.names():
        if PurePosixPath(name).suffix.lower() in AUDIO_EXTENSIONS and name not in listed:
            yield Reject(printable(name), "file", Problem("no transcript", f"not in {table}"))


def manifests_at(path: Path, *patterns: str) -> tuple[FileTree, list[str]]:
    """Return the manifests in a folder or archive, or `path` itself if it is a manifest."""
    if path.is_file() and any(path.match(pattern) for pattern in patterns):
        return Folder(path.parent), [path.name]
    tree = open_tree(path)
    return tree, find_files(tree, *patterns)


def find_audio(tree: FileTree, folder: str, written: str) -> Audio:
    """Find audio by its path, from the folder of the manifest or from the root.

    An absolute path is also searched for inside the corpus, because the corpus may have moved.
    """
    try:
        os.fsencode(written)
    except UnicodeEncodeError:
        raise BadItem("broken characters in the audio path", f"{shown(written)}; write it in UTF-8") from None
    parts = [part for part in written.split("/") if part]
    tails = ["/".join(parts[index:]) for index in range(len(parts))]
    if written.startswith("/"):
        if isinstance(tree, Folder) and Path(written).is_file():
            return Path(written)
        places = [posixpath.join(base, tail) for tail in tails for base in dict.fromkeys((folder, ""))]
    else:
        places = [posixpath.normpath(posixpath.join(folder, written)), posixpath.normpath(written)]
    found = next((place for place in places if place in tree), None)
    if found is not None:
        return tree.audio(found)
    if isinstance(tree, Folder):
        return Path(written) if written.startswith("/") else tree.root / folder / written
    return tree.audio(places[0])


def manifest_seconds(name: str, value: object, least: float = 0.0) -> float:
    """Read a time from a manifest: a number, or a text with one, see `read_decimal`.

    Raises:
        BadItem: It is not a number, or is below `least`.
    """
    number = read_decimal(value) if isinstance(value, str) else value
    try:
        seconds = math.nan if isinstance(number, bool) else float(number)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not least <= seconds < 1e9:  # also False for NaN
        raise BadItem("time out of range", f"{name} is {shown(value)}, expected seconds such as 12.4")
    return seconds
