"""Reads manifests: one line of JSON for each utterance."""

import math
import os
import posixpath
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from utils.data.archives.tree import FileTree, Folder, find_files, is_archive_name, open_tree
from utils.data.fields import parse_json_object, printable, read_extras, read_language, usable_text
from utils.data.sources.manifest_fields import read_previous_text, read_segments, read_string, read_times
from utils.data.sources.ordering import in_archive_order
from utils.data.sources.tables import first_rows
from utils.data.split_names import given_splits, known_split, splits_of_names
from utils.data.utterance import Audio, Items, Reject, Source, Utterance, check_any_usable
from utils.runtime.errors import UserError
from utils.runtime.files import spellings
from utils.runtime.problems import BadItem

MOST_LINE_BYTES = 16 << 20
"""A longer line is rejected, because all of it would be in memory."""


@dataclass(frozen=True)
class Manifest:
    """A manifest in a folder or archive."""

    tree: FileTree
    name: str

    @property
    def path(self) -> Path:
        """Its path. In an archive, no file has this path."""
        return self.tree.root / self.name

    def open(self) -> BinaryIO:
        return self.tree.open(self.name)

    def find_audio(self, written: str) -> Audio:
        """Find a file in any Unicode form of its name. Return the path as written if there is none."""
        spelt = [] if written.isascii() else spellings(written)
        if isinstance(self.tree, Folder):
            places = [self.path.parent / spelling for spelling in spelt]
            there = (place for place in places if os.path.exists(place))  # noqa: PTH110
            return next(there, self.path.parent / written)
        folder = posixpath.dirname(self.name)
        names = [posixpath.normpath(posixpath.join(folder, spelling)) for spelling in [written, *spelt]]
        return self.tree.audio(next((name for name in names if name in self.tree), names[0]))


def read_manifest(path: Path) -> Source:
    """Read a JSONL manifest: each line is an object with `audio` (relative to the manifest), `text` and more.

    Lines with `start` and `end` in the same recording are yielded together, in place of the first of them, so
    that the recording is decoded once. The file is read twice. The first time, the positions of the lines and
    the names of the splits are read. They stay in memory. The second time, the utterances are read.

    Args:
        path: The manifest, or a folder or archive that holds one manifest and its audio.

    Raises:
        UserError: There is no such file, or no line of it is usable.
    """
    manifest = _open_manifest(path)
    places, splits = _find_order(manifest)
    items = Items(partial(_read_items, manifest, places, splits))
    check_any_usable(items, str(path))
    return Source(items, len(places))


def _open_manifest(path: Path) -> Manifest:
    if not path.exists():
        raise UserError(f"{path}: no such manifest. --input must name a JSONL file.")
    if path.is_file() and not is_archive_name(path.name):
        return Manifest(Folder(path.parent), path.name)
    tree = open_tree(path)
    names = find_manifests(tree, find_files(tree, "*.jsonl"))
    if len(names) != 1:
        found = f"found {len(names)} manifests: {', '.join(names[:9])}" if names else "found no manifest"
        raise UserError(f"{path}: {found}, expected one: JSON lines with audio and text, in a file *.jsonl.")
    return Manifest(tree, names[0])


def find_manifests(tree: FileTree, names: list[str]) -> list[str]:
    """Return those files whose first lines have `audio` and `text`."""
    return [
        name
        for name in names
        if any({"audio", "text"} <= row.values.keys() for row in first_rows(tree, name))
    ]


def _find_order(manifest: Manifest) -> tuple[np.ndarray, dict[str, str | None]]:
    """Find the lines that are not blank, in the order in which to read them, and the splits.

    Returns:
        Line number and byte offset of each line, (lines, 2) int64. Also the split that each name of a split
        means.
    """
    given, places = set[str](), array("q")  # rank, number and offset of each line
    first: dict[int, int] = {}  # by the hash of a cut recording's path, the rank of its first line
    with manifest.open() as file:
        for rank, (number, offset, line) in enumerate(_lines_of(file)):
            row = _parse_if_usable(line)
            given |= given_splits([row])
            recording = _cut_recording(row)
            rank = rank if recording is None else first.setdefault(hash(recording), rank)
            places.extend((rank, number, offset))
    table = np.array(places, dtype=np.int64).reshape(-1, 3)
    return table[np.argsort(table[:, 0], kind="stable"), 1:], splits_of_names(given)


def _cut_recording(row: Mapping[str, object]) -> Path | None:
    """Return the recording from which a line cuts a part. None if it uses the whole file."""
    audio = row.get("audio")
    return Path(audio) if isinstance(audio, str) and row.get("start") is not None else None


def _read_items(
    manifest: Manifest, places: np.ndarray, splits: Mapping[str, str | None]
) -> Iterator[Utterance | Reject]:
    return in_archive_order(_read_lines(manifest, places, splits))


def _read_lines(
    manifest: Manifest, places: np.ndarray, splits: Mapping[str, str | None]
) -> Iterator[Utterance | Reject]:
    with manifest.open() as file:
        for place in places:
            number, offset = place.tolist()
            file.seek(offset)
            line = file.readline(MOST_LINE_BYTES)
            is_whole = line.endswith(b"\n") or len(line) < MOST_LINE_BYTES
            try:
                yield read_manifest_line(line if is_whole else None, manifest, number, splits)
            except BadItem as error:
                yield Reject(str(manifest.path), number, error.problem)


def _lines_of(file: BinaryIO) -> Iterator[tuple[int, int, bytes | None]]:
    """Yield number, byte offset and content (None if too long) of each line that is not blank."""
    number, offset = 0, 0
    while line := file.readline(MOST_LINE_BYTES):
        number, begin = number + 1, offset
        offset += len(line)
        is_whole = line.endswith(b"\n") or len(line) < MOST_LINE_BYTES
        while line and not line.endswith(b"\n") and not is_whole:  # skip to the end of the line
            line = file.readline(MOST_LINE_BYTES)
            offset += len(line)
        if not is_whole or line.strip():
            yield number, begin, line if is_whole else None


def _parse_if_usable(line: bytes | None) -> Mapping[str, object]:
    """Parse a line. If it is unusable, return an empty object."""
    try:
        return _parse_line(line or b"")
    except BadItem:
        return {}


def read_manifest_line(
    line: bytes | None, manifest: Manifest, number: int, splits: Mapping[str, str | None]
) -> Utterance:
    if line is None:
        raise BadItem("line too long", f"over {MOST_LINE_BYTES >> 20} MiB, expected one utterance per line")
    row = _parse_line(line)
    for key in ("audio", "text"):
        if key not in row:
            raise BadItem(f"missing key {key!r}", f"found {', '.join(map(repr, row)) or 'none'}")
    audio = read_string(row, "audio")
    if not audio:
        raise BadItem("empty audio path", "expected a path relative to the manifest")
    text = read_string(row, "text") or ""
    start, end = read_times(row)
    split = (read_string(row, "split") or "").strip()
    text = usable_text(text)
    return Utterance(
        id=f"{printable(manifest.path.stem)}-{number:06d}",
        audio=manifest.find_audio(audio),
        text=text,
        source=str(manifest.path),
        position=number,
        start=start,
        end=end,
        language=read_language(read_string(row, "language")),
        speaker=read_string(row, "speaker"),
        group=read_string(row, "group"),
        recording=read_string(row, "recording"),
        split=known_split(split, splits) if split else None,
        segments=read_segments(row, text, math.inf if start is None or end is None else end - start),
        previous_text=read_previous_text(row),
        # `recording` is also kept as a column: it may name more than a file
        extra=read_extras(row, taken=("segments", "previous_text")),
    )


def _parse_line(line: bytes) -> dict[str, object]:
    try:
        return parse_json_object(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadItem("not UTF-8", f"{error.reason} at byte {error.start}") from None
