"""Reader of manifests: a line of JSON for every utterance."""

from array import array
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from utils.data.archives.tree import is_archive_name
from utils.data.sources.manifest_line import MOST_LINE_BYTES, parse_if_usable, read_manifest_line
from utils.data.split_names import given_splits, splits_of_names
from utils.data.utterance import Items, Reject, Source, Utterance, check_any_usable
from utils.runtime.errors import UserError
from utils.runtime.problems import BadItem


def read_manifest(path: Path) -> Source:
    """Read a JSONL manifest: one object a line with `audio` (relative to the manifest), `text` and more.

    Lines of one recording that name `start` and `end` are brought together, at the place of the first of
    them, so that the recording is decoded once. The file is read twice: once for the places of such lines
    and the names of splits, which are all that is held, and once for the utterances.

    Raises:
        UserError: There is no such file, or no line of it is usable.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such manifest. --input must name a JSONL file.")
    if is_archive_name(path.name):
        raise UserError(f"{path}: an archive, expected a JSONL file. Unpack it first.")
    places, splits = _find_order(path)
    items = Items(partial(_read_lines, path, places, splits))
    check_any_usable(items, str(path))
    return Source(items, len(places))


def _find_order(path: Path) -> tuple[np.ndarray, dict[str, str | None]]:
    """Number and byte offset of the lines that are not blank, in the order to read them, and the splits.

    Returns:
        (lines, 2) int64, and what each name of a split means.
    """
    given, places = set[str](), array("q")  # rank, number and offset of each line
    first: dict[int, int] = {}  # rank of the first line of each recording that is cut, by the path's hash
    with path.open("rb") as file:
        for rank, (number, offset, line) in enumerate(_lines_of(file)):
            row = parse_if_usable(line)
            given |= given_splits([row])
            recording = _cut_recording(row)
            rank = rank if recording is None else first.setdefault(hash(recording), rank)
            places.extend((rank, number, offset))
    table = np.array(places, dtype=np.int64).reshape(-1, 3)
    return table[np.argsort(table[:, 0], kind="stable"), 1:], splits_of_names(given)


def _cut_recording(row: Mapping[str, object]) -> Path | None:
    """The recording that a line cuts an utterance from; None if it takes a whole file."""
    audio = row.get("audio")
    return Path(audio) if isinstance(audio, str) and row.get("start") is not None else None


def _read_lines(
    path: Path, places: np.ndarray, splits: Mapping[str, str | None]
) -> Iterator[Utterance | Reject]:
    with path.open("rb") as file:
        for place in places:
            number, offset = place.tolist()
            file.seek(offset)
            line = file.readline(MOST_LINE_BYTES)
            is_whole = line.endswith(b"\n") or len(line) < MOST_LINE_BYTES
            try:
                yield read_manifest_line(line if is_whole else None, path, number, splits)
            except BadItem as error:
                yield Reject(str(path), number, error.problem)


def _lines_of(file: BinaryIO) -> Iterator[tuple[int, int, bytes | None]]:
    """Number, byte offset and content of each line that is not blank; None for one that is too long."""
    number, offset = 0, 0
    while line := file.readline(MOST_LINE_BYTES):
        number, begin = number + 1, offset
        offset += len(line)
        is_whole = line.endswith(b"\n") or len(line) < MOST_LINE_BYTES
        while line and not line.endswith(b"\n") and not is_whole:  # on to the end of the line
            line = file.readline(MOST_LINE_BYTES)
            offset += len(line)
        if not is_whole or line.strip():
            yield number, begin, line if is_whole else None
