"""Readers of speech on this machine, a manifest, a folder, telephone prompts: utterances and rejects."""

import json
import math
import os
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath
from typing import BinaryIO

import numpy as np

from utils.archives import is_archive_name
from utils.audio import AUDIO_EXTENSIONS
from utils.errors import UserError
from utils.files import spellings
from utils.segmentation import END_TOLERANCE, BadPiece, Piece, join_pieces, segment_problem
from utils.text import clean_text
from utils.timed_text import TRANSCRIPT_EXTENSIONS, decode_transcript, is_timed, read_transcript
from utils.utterances import (
    BadItem,
    Reject,
    Source,
    TimedText,
    Utterance,
    check_any_usable,
    given_splits,
    is_utf8,
    known_split,
    printable,
    read_extras,
    read_language,
    shown,
    splits_of_names,
    text_problem,
    unsplit_notes,
)

MOST_LINE_BYTES = 16 << 20
"""A longer line of a manifest is rejected: it would be held in memory whole."""

MOST_TRANSCRIPT_BYTES = 64 << 20
"""A larger transcript is rejected: it would be held in memory whole."""


@dataclass(frozen=True)
class _Rereadable:
    """Items that are read anew each time they are asked for, so that they need not be held."""

    read: Callable[[], Iterator[Utterance | Reject]]

    def __iter__(self) -> Iterator[Utterance | Reject]:
        return self.read()


# ---- manifest ----------------------------------------------------------------------------------------------


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
    total, places, splits = _find_order(path)
    items = _Rereadable(partial(_read_lines, path, places, splits))
    check_any_usable(items, str(path))
    return Source(items, total)


@dataclass(frozen=True)
class _Places:
    """Number and byte offset of the lines of a manifest, in the order in which they are to be read."""

    numbers: np.ndarray  # (lines,) int64
    offsets: np.ndarray  # (lines,) int64


def _find_order(path: Path) -> tuple[int, _Places | None, dict[str, str | None]]:
    """The number of lines that are not blank, their order where it is not the file's, and the splits."""
    given = set[str]()
    numbers, offsets, ranks = array("q"), array("q"), array("q")
    first: dict[int, int] = {}  # rank of the first line of each recording that is cut, by the path's hash
    with path.open("rb") as file:
        for number, offset, line in _lines_of(file):
            row = _parse_if_usable(line)
            given |= given_splits([row])
            recording = _cut_recording(row)
            rank = len(ranks) if recording is None else first.setdefault(hash(recording), len(ranks))
            numbers.append(number)
            offsets.append(offset)
            ranks.append(rank)
    order = np.argsort(np.array(ranks, dtype=np.int64), kind="stable")
    splits = splits_of_names(given)
    if np.array_equal(order, np.arange(len(order))):
        return len(ranks), None, splits
    places = _Places(np.array(numbers, dtype=np.int64)[order], np.array(offsets, dtype=np.int64)[order])
    return len(ranks), places, splits


def _parse_if_usable(line: bytes | None) -> Mapping[str, object]:
    """What a line holds; nothing if it is no use."""
    try:
        return _parse_json_object(line or b"")
    except BadItem:
        return {}


def _cut_recording(row: Mapping[str, object]) -> Path | None:
    """The recording that a line cuts an utterance from; None if it takes a whole file."""
    audio = row.get("audio")
    return Path(audio) if isinstance(audio, str) and row.get("start") is not None else None


def _read_lines(
    path: Path, places: _Places | None, splits: Mapping[str, str | None]
) -> Iterator[Utterance | Reject]:
    with path.open("rb") as file:
        lines = _lines_of(file) if places is None else _lines_at(file, places)
        for number, _, line in lines:
            try:
                yield _read_manifest_line(line, path, number, splits)
            except BadItem as problem:
                yield Reject(str(path), number, str(problem))


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


def _lines_at(file: BinaryIO, places: _Places) -> Iterator[tuple[int, int, bytes | None]]:
    for number, offset in zip(places.numbers.tolist(), places.offsets.tolist(), strict=True):
        file.seek(offset)
        line = file.readline(MOST_LINE_BYTES)
        yield number, offset, line if line.endswith(b"\n") or len(line) < MOST_LINE_BYTES else None


def _read_manifest_line(
    line: bytes | None, path: Path, number: int, splits: Mapping[str, str | None]
) -> Utterance:
    if line is None:
        raise BadItem(f"line too long: over {MOST_LINE_BYTES >> 20} MiB, expected one utterance a line")
    row = _parse_json_object(line)
    for key in ("audio", "text"):
        if key not in row:
            raise BadItem(f"missing key {key!r}: found {', '.join(map(repr, row)) or 'none'}")
    audio = _read_string(row, "audio")
    if not audio:
        raise BadItem("empty audio path: expected a path relative to the manifest")
    text = clean_text(_read_string(row, "text") or "")
    start, end = _read_times(row)
    split = (_read_string(row, "split") or "").strip()
    if problem := text_problem(text):
        raise BadItem(problem)
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
        # `recording` stays a column as well: it may name more than a file
        extra=read_extras(row, taken=("segments", "previous_text")),
    )


def _find_spelling(folder: Path, name: str) -> Path:
    """Where a file of that name is, in whichever spelling; as written where it is not there."""
    places = [] if name.isascii() else [folder / spelling for spelling in spellings(name)]
    return next((place for place in places if os.path.exists(place)), folder / name)  # noqa: PTH110


def read_previous_text(row: Mapping[str, object]) -> str | None:
    """What was said right before, cleaned.

    Raises:
        BadItem: It is no text, or none that can be learnt from.
    """
    text = clean_text(_read_string(row, "previous_text") or "")
    if problem := text_problem(text) if text else None:
        raise BadItem(f"{problem} (in 'previous_text')")
    return text or None


def read_segments(row: Mapping[str, object], text: str, duration: float) -> tuple[TimedText, ...]:
    """The timed pieces of an utterance of `duration` seconds: in order, within it, and together its text.

    Raises:
        BadItem: They are not.
    """
    value = row.get("segments")
    if value is None:
        return ()
    expected = 'expected a list of {"start": s, "end": s, "text": "..."}, seconds from the utterance\'s start'
    if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
        raise BadItem(f"wrong type of 'segments': found {shown(value)}, {expected}")
    segments: list[TimedText] = []
    for part in value:
        start, end = _read_times(part)
        if start is None or end is None or not isinstance(part.get("text"), str):
            raise BadItem(f"malformed segments: keys {', '.join(map(repr, part)) or 'none'}, {expected}")
        if not clean_text(part["text"]) or start >= duration or end > duration + END_TOLERANCE:
            raise BadItem(f"malformed segments: no text, or beyond the utterance at {start:g} s, {expected}")
        if segments and start < segments[-1].start:
            raise BadItem(f"malformed segments: out of order at {start:g} s, {expected}")
        segments.append(TimedText(start, min(end, duration), clean_text(part["text"])))
    if "".join("".join(part.text for part in segments).split()) != "".join(text.split()):
        raise BadItem("segments without the text: their texts one after the other must be 'text'")
    return tuple(segments)


def _parse_json_object(line: bytes) -> dict[str, object]:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadItem(f"not UTF-8: {error.reason} at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise BadItem(f"bad JSON: {error or 'nested too deeply'}") from None
    if not isinstance(row, dict):
        raise BadItem(f"bad JSON: found a {type(row).__name__}, expected an object {{...}}")
    return row


def _read_string(row: Mapping[str, object], key: str) -> str | None:
    value = row.get(key)
    if value is None and key not in ("audio", "text"):
        return None
    if key in ("speaker", "group", "recording") and isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # speakers are often numbered
    if not isinstance(value, str):
        raise BadItem(f"wrong type of {key!r}: found {shown(value)}, expected text")
    if key != "text" and not is_utf8(value):
        raise BadItem(f"broken characters in {key!r}: half of a surrogate pair")
    return value


def _read_times(row: Mapping[str, object]) -> tuple[float | None, float | None]:
    values = {key: row[key] for key in ("start", "end") if row.get(key) is not None}
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadItem(f"wrong type of {key!r}: found {shown(value)}, expected seconds as a number")
        if not 0 <= value < 1e9:  # also False for NaN
            raise BadItem(f"time out of range: {key} is {shown(value)}, expected seconds from 0")
    if not values:
        return None, None
    if len(values) == 1:
        there, lacking = ("start", "end") if "start" in values else ("end", "start")
        raise BadItem(f"{there} without {lacking}: give both or neither")
    start, end = float(values["start"]), float(values["end"])  # type: ignore[arg-type]
    if problem := segment_problem(start, end):
        raise BadItem(problem)
    return start, end


# ---- folder ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cutting:
    """How timed transcripts are cut, see `utils.segmentation.join_pieces`; durations in seconds."""

    min_segment_duration: float
    max_duration: float
    target_duration: float
    max_gap: float
    padding: float
    tier: str | None


@dataclass(frozen=True)
class _Listing:
    """The names in one folder that are not hidden, sorted. `problem` tells why it could not be read."""

    folder: Path
    recordings: list[str]
    transcripts: list[str]
    num_others: int
    num_links: int  # to folders
    problem: str | None = None


def read_folder(
    folder: Path,
    *,
    min_segment_duration: float,
    max_duration: float,
    target_duration: float = 0.0,
    max_gap: float = 1.0,
    padding: float = 0.0,
    tier: str | None = None,
) -> Source:
    """Read audio files and the transcript of the same stem beside each, in all subfolders.

    A `.txt` without times is the text of the whole file. A timed transcript, see `utils.timed_text`, is cut
    into segments. Where several stand beside a recording, the first of `TRANSCRIPT_EXTENSIONS` is used. Below
    subfolders named after splits (`train`, `dev`, `test` …) the split is given. Hidden files are passed
    over, and links to folders are not followed, so that nothing is read twice.

    Args:
        folder: Searched at each reading of the items, one subfolder after the other.
        min_segment_duration: Shorter segments of timed transcripts are rejected, in seconds.
        max_duration: Longer ones are cut between words or rejected, in seconds.
        target_duration: Seconds up to which neighbouring pieces are joined; 0 leaves each on its own.
        max_gap: Longest pause within joined pieces, in seconds.
        padding: Seconds added to both sides of a segment where there is a pause.
        tier: Name or pattern of the tiers to read from TextGrid and EAF files; None chooses.

    Raises:
        UserError: There is no such folder, or nothing usable in it.
    """
    if folder.is_file() and is_archive_name(folder.name):
        raise UserError(f"{folder}: an archive, expected a folder. Unpack it first.")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. --input must name a folder of audio and transcripts.")
    cutting = _Cutting(min_segment_duration, max_duration, target_duration, max_gap, padding, tier)
    counts: Counter[str] = Counter()
    names: dict[str, None] = {}  # of subfolders with recordings, in their order
    for listing in _list_folders(folder):
        names |= {_subfolder(listing.folder, folder): None} if listing.recordings else {}
        counts["found"] += len(listing.recordings) + len(listing.transcripts) + bool(listing.problem)
        counts["others"] += listing.num_others
        counts["links"] += listing.num_links
    if not counts["found"]:
        known = ", ".join(TRANSCRIPT_EXTENSIONS)
        raise UserError(
            f"{folder}: no audio and no .txt files found, nor other transcripts ({known}). "
            "Expected clip.wav beside clip.txt."
        )
    splits = splits_of_names(names)
    items = _Rereadable(partial(_read_listings, folder, cutting, splits))
    check_any_usable(items, str(folder))
    return Source(items, notes=(*_describe_others(folder, counts), *unsplit_notes(splits)))


def _describe_others(folder: Path, counts: Mapping[str, int]) -> Iterator[str]:
    if others := counts["others"]:
        yield f"{folder}: files that are neither audio nor a transcript: {others}, passed over."
    if links := counts["links"]:
        yield f"{folder}: links to folders: {links}, not followed; give such a folder as --input."


def _list_folders(top: Path) -> Iterator[_Listing]:
    """`top` and all folders below it that are not hidden, in sorted order."""
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                visible = {entry.name: entry for entry in entries if not entry.name.startswith(".")}
        except OSError as error:
            problem = f"unreadable folder: {error.strerror}; give permission to read it"
            yield _Listing(folder, [], [], 0, 0, problem)
            continue
        subfolders = sorted(name for name, entry in visible.items() if _is_folder(entry))
        own = [name for name in subfolders if not visible[name].is_symlink()]
        waiting += [folder / name for name in reversed(own)]
        yield _sort_names(folder, sorted(visible.keys() - subfolders), len(subfolders) - len(own))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _sort_names(folder: Path, names: Sequence[str], num_links: int) -> _Listing:
    """Part the names of files into recordings, transcripts and others.

    A .json counts as a transcript only beside a recording: many a folder holds one that describes the data.
    """
    suffixes = {name: PurePath(name).suffix.lower() for name in names}
    recordings = [name for name in names if suffixes[name] in AUDIO_EXTENSIONS]
    stems = {_stem(name) for name in recordings}
    transcripts = [
        name
        for name in names
        if suffixes[name] in TRANSCRIPT_EXTENSIONS and (suffixes[name] != ".json" or _stem(name) in stems)
    ]
    num_others = len(names) - len(recordings) - len(transcripts)
    return _Listing(folder, recordings, transcripts, num_others, num_links)


def _subfolder(folder: Path, top: Path) -> str:
    """The name of the folder right below `top` that a folder is or lies in; `.` for `top` itself."""
    return next(iter(folder.relative_to(top).parts), ".")


def _stem(name: str) -> str:
    """The stem in one spelling: a recording and its transcript may come from different systems."""
    return unicodedata.normalize("NFC", PurePath(name).stem)


def _read_listings(
    top: Path, cutting: _Cutting, splits: Mapping[str, str | None]
) -> Iterator[Utterance | Reject]:
    for listing in _list_folders(top):
        if listing.problem:
            yield Reject(printable(listing.folder), "folder", listing.problem)
        split = splits.get(_subfolder(listing.folder, top))
        for item in _read_listing(listing, top, cutting):
            yield replace(item, split=split) if isinstance(item, Utterance) else item


def _read_listing(listing: _Listing, top: Path, cutting: _Cutting) -> Iterator[Utterance | Reject]:
    """The utterances of one folder's recordings, each followed by its rejects, then what stands alone."""
    transcripts: dict[str, list[str]] = {}
    for name in sorted(listing.transcripts, key=_preference):
        transcripts.setdefault(_stem(name), []).append(name)
    used: dict[str, str] = {}
    for name in listing.recordings:
        stem, source = _stem(name), printable((listing.folder / name).relative_to(top))
        if stem in used:
            yield Reject(source, "file", f"two recordings of one stem: {used[stem]} is used")
        elif stem not in transcripts:
            reason = f"no transcript: expected {printable(stem)}.txt or the like beside it"
            yield Reject(source, "file", reason)
        else:
            used[stem] = printable(name)
            yield from _read_pair(listing.folder / name, transcripts[stem], top, cutting)
    for stem, names in transcripts.items():
        if stem not in used:
            for name in names:
                source = printable((listing.folder / name).relative_to(top))
                reason = f"no recording: expected {printable(stem)}.wav or another format"
                yield Reject(source, "file", reason)


def _preference(name: str) -> tuple[int, str]:
    return TRANSCRIPT_EXTENSIONS.index(PurePath(name).suffix.lower()), name


def _read_pair(
    audio: Path, transcripts: Sequence[str], top: Path, cutting: _Cutting
) -> Iterator[Utterance | Reject]:
    """The utterances of one recording, then its rejects, so that nothing stands between the utterances."""
    rejects: list[Reject] = []
    for item in _read_transcript(audio, audio.with_name(transcripts[0]), top, cutting):
        if isinstance(item, Reject):
            rejects.append(item)
        else:
            yield item
    yield from rejects
    for name in transcripts[1:]:
        source = printable(audio.with_name(name).relative_to(top))
        yield Reject(source, "file", f"another transcript: {printable(transcripts[0])} is used")


def _read_transcript(
    audio: Path, transcript: Path, top: Path, cutting: _Cutting
) -> Iterator[Utterance | Reject]:
    relative = audio.relative_to(top)
    stem, source = printable(relative.with_suffix("")), printable(transcript.relative_to(top))
    whole = Utterance(
        id=stem,
        audio=audio,
        text="",
        source=source,
        position="file",
        recording=stem,
    )
    extension = transcript.suffix.lower()
    try:
        text = _load_transcript(transcript)
        if extension == ".txt" and not is_timed(text):
            cleaned = clean_text(text)
            if problem := text_problem(cleaned):
                raise BadItem(problem)
            yield replace(whole, text=cleaned)
        else:
            yield from _cut(whole, read_transcript(text, extension, tier=cutting.tier), cutting)
    except BadItem as error:
        yield Reject(source, "file", str(error))


def _load_transcript(path: Path) -> str:
    """The text of a transcript.

    Raises:
        BadItem: It is no file, too large, or not in a known encoding.
    """
    try:
        if not path.is_file():
            raise BadItem("unreadable transcript: a broken link, or no ordinary file")
        if (size := path.stat().st_size) > MOST_TRANSCRIPT_BYTES:
            raise BadItem(
                f"transcript too large: {size >> 20} MiB, expected at most {MOST_TRANSCRIPT_BYTES >> 20} MiB"
            )
        return decode_transcript(path.read_bytes())
    except OSError as error:
        raise BadItem(f"unreadable transcript: {error.strerror}; give permission to read it") from None


def _cut(
    whole: Utterance, pieces: Iterator[Piece | BadPiece], cutting: _Cutting
) -> Iterator[Utterance | Reject]:
    """The segments of a timed transcript as utterances of the recording, numbered in the order of time."""
    items = join_pieces(
        pieces,
        target_duration=cutting.target_duration,
        max_duration=cutting.max_duration,
        max_gap=cutting.max_gap,
        min_duration=cutting.min_segment_duration,
        padding=cutting.padding,
    )
    index, is_empty = 0, True
    for item in items:
        is_empty = False
        if isinstance(item, BadPiece):
            yield Reject(whole.source, item.position, item.reason)
            continue
        yield replace(
            whole,
            id=f"{whole.id}_segment_{index:03d}",
            text=item.text,
            position=item.position,
            start=item.start,
            end=item.end,
            speaker=item.speaker,
            segments=item.segments,
            previous_text=item.previous_text,
        )
        index += 1
    if is_empty:
        yield Reject(whole.source, "file", "empty transcript: no timed text in it")


# ---- Asterisk prompts --------------------------------------------------------------------------------------


# Beeps, which the Italian list describes in words without brackets.
TONE_PROMPTS = frozenset(
    ["beep", "beeperr", "ascending-2tone", "descending-2tone", "confbridge-join", "confbridge-leave"]
)
# Remarks of the translators that nobody speaks: `(in inglese)`, `dollaro [$]`, `Il [suo] messaggio`.
PROMPT_NOTE = re.compile(r"\([^)]*\)|\[[^\]]*\]")


def read_prompts(folder: Path, transcripts: Sequence[tuple[str, str]], *, credit: str) -> Source:
    """Pair the Asterisk telephone prompts with their transcripts; tones and silence are rejected.

    Args:
        folder: Holds the `.g722` recordings, some in subfolders.
        transcripts: (key, text) pairs; a key is a recording's path below the folder without its extension.
        credit: Who spoke, and the licence; shown to the user.
    """
    recordings = {
        path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.g722"))
    }
    keys = "|".join(re.escape(key) for key, _ in transcripts)
    run_together = re.compile(rf"(?<!\S)(?:{keys}): ")
    items = [
        _read_prompt(key, run_together.split(text.removeprefix(f"{key}: ")), recordings.get(key))
        for key, text in dict(transcripts).items()
    ]
    unlisted = sorted(recordings.keys() - dict(transcripts).keys())
    items += [Reject(f"{key}.g722", "file", "no transcript: the list does not name it") for key in unlisted]
    check_any_usable(items, str(folder))
    return Source(items, len(items), credit=credit)


def _read_prompt(key: str, texts: list[str], audio: Path | None) -> Utterance | Reject:
    """One prompt; several texts are several entries of the list that stand in one line."""
    written, source = clean_text(texts[0]), f"{key}.g722"
    if audio is None:
        return Reject(source, "file", "no recording: only the transcript is there")
    if len(texts) > 1:
        return Reject(source, "file", f"faulty transcript: {len(texts)} prompts stand in one line")
    if re.fullmatch(r"[\[(<].*[\])>]", written) or key in TONE_PROMPTS or key.split("/")[0] == "silence":
        return Reject(source, "file", f"no speech: the transcript is {written!r}")
    cleaned = clean_text(PROMPT_NOTE.sub(" ", written))
    if problem := text_problem(cleaned):
        return Reject(source, "file", problem)
    return Utterance(key, audio, cleaned, source, "file")
