"""Reads manifests: one line of JSON for each utterance."""

import math
import os
from array import array
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from utils.data.archives.tree import is_archive_name
from utils.data.decimals import read_decimal
from utils.data.fields import (
    is_utf8,
    parse_json_object,
    printable,
    read_extras,
    read_language,
    shown,
    text_problem,
    usable_text,
)
from utils.data.segmentation.pieces import END_TOLERANCE, check_segment
from utils.data.sources.rows import manifest_seconds
from utils.data.split_names import given_splits, known_split, splits_of_names
from utils.data.utterance import Items, Reject, Source, TimedText, Utterance, check_any_usable
from utils.runtime.errors import UserError
from utils.runtime.files import spellings
from utils.runtime.problems import BadItem
from utils.text.cleaning import clean_text

MOST_LINE_BYTES = 16 << 20
"""A longer line is rejected, because all of it would be in memory."""


def read_manifest(path: Path) -> Source:
    """Read a JSONL manifest: each line is an object with `audio` (relative to the manifest), `text` and more.

    Lines with `start` and `end` in the same recording are yielded together, in place of the first of them, so
    that the recording is decoded once. The file is read twice. The first time, the positions of the lines and
    the names of the splits are read. They stay in memory. The second time, the utterances are read.

    Raises:
        UserError: There is no such file, or no line of it is usable.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such manifest. --input must name a JSONL file.")
    if is_archive_name(path.name):
        raise UserError(f"{path}: found an archive, expected a JSONL file. Unpack it first.")
    places, splits = _find_order(path)
    items = Items(partial(_read_lines, path, places, splits))
    check_any_usable(items, str(path))
    return Source(items, len(places))


def _find_order(path: Path) -> tuple[np.ndarray, dict[str, str | None]]:
    """Find the lines that are not blank, in the order in which to read them, and the splits.

    Returns:
        Line number and byte offset of each line, (lines, 2) int64. Also the split that each name of a split
        means.
    """
    given, places = set[str](), array("q")  # rank, number and offset of each line
    first: dict[int, int] = {}  # by the hash of a cut recording's path, the rank of its first line
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
    """Return the recording from which a line cuts a part. None if it uses the whole file."""
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


def parse_if_usable(line: bytes | None) -> Mapping[str, object]:
    """Parse a line. If it is unusable, return an empty object."""
    try:
        return _parse_line(line or b"")
    except BadItem:
        return {}


def read_manifest_line(
    line: bytes | None, path: Path, number: int, splits: Mapping[str, str | None]
) -> Utterance:
    if line is None:
        raise BadItem("line too long", f"over {MOST_LINE_BYTES >> 20} MiB, expected one utterance per line")
    row = _parse_line(line)
    for key in ("audio", "text"):
        if key not in row:
            raise BadItem(f"missing key {key!r}", f"found {', '.join(map(repr, row)) or 'none'}")
    audio = _read_string(row, "audio")
    if not audio:
        raise BadItem("empty audio path", "expected a path relative to the manifest")
    text = _read_string(row, "text") or ""
    start, end = _read_times(row)
    split = (_read_string(row, "split") or "").strip()
    text = usable_text(text)
    return Utterance(
        id=f"{printable(path.stem)}-{number:06d}",
        audio=_find_spelling(path.parent, audio),
        text=text,
        source=str(path),
        position=number,
        start=start,
        end=end,
        language=read_language(_read_string(row, "language")),
        speaker=_read_string(row, "speaker"),
        group=_read_string(row, "group"),
        recording=_read_string(row, "recording"),
        split=known_split(split, splits) if split else None,
        segments=read_segments(row, text, math.inf if start is None or end is None else end - start),
        previous_text=read_previous_text(row),
        # `recording` is also kept as a column: it may name more than a file
        extra=read_extras(row, taken=("segments", "previous_text")),
    )


def _find_spelling(folder: Path, name: str) -> Path:
    """Find a file in any Unicode form of its name. Return the path as written if there is none."""
    places = [] if name.isascii() else [folder / spelling for spelling in spellings(name)]
    return next((place for place in places if os.path.exists(place)), folder / name)  # noqa: PTH110


def read_previous_text(row: Mapping[str, object]) -> str | None:
    """Return the cleaned text that was said right before.

    Raises:
        BadItem: It is not text, or cannot be used for training.
    """
    text = clean_text(_read_string(row, "previous_text") or "")
    if problem := text_problem(text) if text else None:
        raise BadItem(problem.kind, f"{problem.details} (in 'previous_text')")
    return text or None


def read_segments(row: Mapping[str, object], text: str, duration: float) -> tuple[TimedText, ...]:
    """Read the timed segments of an utterance of `duration` seconds.

    Raises:
        BadItem: They are not in order or not within the utterance, or their texts together are not its text.
    """
    value = row.get("segments")
    if value is None:
        return ()
    expected = 'expected a list of {"start": s, "end": s, "text": "..."}, seconds from the utterance\'s start'
    if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
        raise BadItem("wrong type of 'segments'", f"found {shown(value)}, {expected}")
    segments: list[TimedText] = []
    for part in value:
        start, end = _read_times(part)
        if start is None or end is None or not isinstance(part.get("text"), str):
            raise BadItem("malformed segments", f"keys {', '.join(map(repr, part)) or 'none'}, {expected}")
        if not clean_text(part["text"]) or start >= duration or end > duration + END_TOLERANCE:
            raise BadItem(
                "malformed segments", f"no text, or not within the utterance at {start:g} s, {expected}"
            )
        if segments and start < segments[-1].start:
            raise BadItem("malformed segments", f"out of order at {start:g} s, {expected}")
        segments.append(TimedText(start, min(end, duration), clean_text(part["text"])))
    if "".join("".join(part.text for part in segments).split()) != "".join(text.split()):
        raise BadItem("segments without the text", "the texts of all segments together must be 'text'")
    return tuple(segments)


def _parse_line(line: bytes) -> dict[str, object]:
    try:
        return parse_json_object(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadItem("not UTF-8", f"{error.reason} at byte {error.start}") from None


def _read_string(row: Mapping[str, object], key: str) -> str | None:
    value = row.get(key)
    if value is None and key not in ("audio", "text"):
        return None
    if key in ("speaker", "group", "recording") and isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # many corpora number their speakers
    if not isinstance(value, str):
        raise BadItem(f"wrong type of {key!r}", f"found {shown(value)}, expected text")
    if key != "text" and not is_utf8(value):
        raise BadItem(
            f"broken characters in {key!r}", "an incomplete character (lone surrogate); save it as UTF-8"
        )
    return value


def _read_times(row: Mapping[str, object]) -> tuple[float | None, float | None]:
    values = {key: _read_time(key, row[key]) for key in ("start", "end") if row.get(key) is not None}
    if not values:
        return None, None
    if len(values) == 1:
        there, lacking = ("start", "end") if "start" in values else ("end", "start")
        raise BadItem(f"{there} without {lacking}", "give both or neither")
    check_segment(values["start"], values["end"])
    return values["start"], values["end"]


def _read_time(key: str, value: object) -> float:
    number = read_decimal(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise BadItem(f"wrong type of {key!r}", f"found {shown(value)}, expected seconds such as 12.4")
    return manifest_seconds(key, number)
