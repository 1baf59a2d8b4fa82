"""Readers of the manifests of other speech toolkits, NeMo and lhotse.

They may name audio by absolute paths and outside their folder, which is followed on this machine and never
within an archive. Commands in place of audio are never run.
"""

import contextlib
import itertools
import json
import math
import os
import posixpath
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from utils.archives import FileTree, Folder, find_files, open_tree
from utils.errors import UserError
from utils.ordering import recordings_together, temporary_database
from utils.segmentation import segment_problem
from utils.tables import (
    Items,
    Row,
    language_of,
    read_json_lines,
    rows_as_source,
    split_in_name,
    usable_id,
)
from utils.utterances import (
    Audio,
    BadItem,
    Reject,
    Source,
    Utterance,
    given_splits,
    known_split,
    shown,
    splits_of_names,
    unsplit_notes,
)

if TYPE_CHECKING:
    from lhotse import Recording, SupervisionSegment
    from lhotse.cut import Cut

# ---- NeMo --------------------------------------------------------------------------------------------------

_NEMO_TAKEN = ("audio_filepath", "offset", "duration", "text", "speaker", "split")
_NEMO_LANGUAGES = ("target_lang", "lang", "source_lang")


def read_nemo(path: Path) -> Source:
    """Read NeMo manifests: JSON lines with `audio_filepath`, `text`, `duration` and perhaps `offset`.

    With `offset` a line means that part of the file, without it the whole file.
    Format: https://docs.nvidia.com/nemo-framework/user-guide/latest/nemotoolkit/asr/datasets.html

    Args:
        path: A manifest, or a folder or archive of manifests whose names tell the split.

    Raises:
        UserError: There is no manifest.
    """
    tree, tables = _manifests_at(path, "*.json", "*.jsonl")
    tables = [name for name in tables if _is_nemo(tree, name)]
    if not tables:
        raise UserError(f"{path}: no JSON lines with audio_filepath. --input must name a NeMo manifest.")
    given = given_splits(row.values for row in _json_rows(tree, tables) if isinstance(row, Row))
    splits = splits_of_names([*tables, *given], split_in_name)
    source = rows_as_source(partial(_json_rows, tree, tables), partial(_nemo_row, tree, splits))
    notes = () if given else unsplit_notes(splits)
    return Source(Items(partial(recordings_together, source.items)), source.total, notes=notes)


def _is_nemo(tree: FileTree, name: str) -> bool:
    """Whether one of the first lines speaks of audio."""
    try:
        first = list(itertools.islice(read_json_lines(tree, name), 5))
    except UserError:  # a table of another kind
        return False
    return any(isinstance(row, Row) and "audio_filepath" in row.values for row in first)


def _json_rows(tree: FileTree, tables: Sequence[str]) -> Iterator[Row | Reject]:
    for name in tables:
        yield from read_json_lines(tree, name)


def _nemo_row(tree: FileTree, splits: Mapping[str, str | None], row: Row) -> Utterance:
    written = row.text("audio_filepath")
    if not written:
        raise BadItem("empty audio path: expected one relative to the manifest")
    start, end = _nemo_times(row)
    split = row.label("split")
    language = language_of(row.label(*_NEMO_LANGUAGES) or "")
    taken = _NEMO_TAKEN if language is None else (*_NEMO_TAKEN, *_NEMO_LANGUAGES)
    return Utterance(
        id=usable_id(f"{PurePosixPath(row.table).with_suffix('')}-{row.line:06d}"),
        audio=find_audio(tree, posixpath.dirname(row.table), written),
        text=row.spoken("text"),
        source=row.source,
        position=row.line,
        start=start,
        end=end,
        language=language,
        speaker=_nemo_speaker(row),
        split=known_split(split, splits) if split else splits[row.table],
        extra=row.extras(*taken),
    )


def _nemo_speaker(row: Row) -> str | None:
    """The speaker; pandas makes `12.0` and NaN of numbers among which some are missing."""
    value = row.values.get("speaker")
    if isinstance(value, float) and math.isnan(value):
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else row.label("speaker")


def _nemo_times(row: Row) -> tuple[float | None, float | None]:
    if row.values.get("offset") is None:
        return None, None
    if row.values.get("duration") is None:
        raise BadItem("offset without duration: give both or neither")
    start = manifest_seconds("offset", row.values["offset"])
    end = start + manifest_seconds("duration", row.values["duration"])
    if problem := segment_problem(start, end):
        raise BadItem(problem)
    return start, end


# ---- lhotse ------------------------------------------------------------------------------------------------

_LHOTSE_ENDINGS = (".jsonl", ".jsonl.gz")


def read_lhotse(path: Path) -> Source:
    """Read lhotse manifests (https://lhotse.readthedocs.io): cuts, or supervisions with their recordings.

    `*cuts*.jsonl[.gz]` go before `*supervisions*.jsonl[.gz]`, whose recordings are in the file named alike.
    The names tell the split. Each supervision is an utterance; mixed cuts and transforms are rejected.

    Args:
        path: A manifest of cuts, or a folder or archive of manifests.

    Raises:
        UserError: There is no manifest, or no recordings for one of supervisions.
    """
    tree, tables = _manifests_at(path, *(f"*{ending}" for ending in _LHOTSE_ENDINGS))
    supervisions = [name for name in tables if "supervisions" in posixpath.basename(name)]
    is_named = isinstance(tree, Folder) and path.is_file()  # then its name need not say that it holds cuts
    cuts = [name for name in tables if "cuts" in posixpath.basename(name) or is_named]
    cuts = [name for name in cuts if name not in supervisions]
    if not cuts and not supervisions:
        raise UserError(
            f"{path}: no *cuts*.jsonl and no *supervisions*.jsonl. --input must name lhotse manifests."
        )
    read_rows = partial(_cut_rows, tree, cuts) if cuts else partial(_supervision_rows, tree, supervisions)
    splits = splits_of_names(cuts or supervisions, split_in_name)
    source = rows_as_source(read_rows, partial(_lhotse_row, tree, splits))
    unread = (f"Cuts are read; not read: {', '.join(supervisions)}.",) if cuts and supervisions else ()
    notes = (*unread, *unsplit_notes(splits))
    return Source(Items(partial(recordings_together, source.items)), source.total, notes=notes)


def _cut_rows(tree: FileTree, tables: Sequence[str]) -> Iterator[Row | Reject]:
    """A row for each supervision of each cut: the cut with that supervision alone."""
    for row in _json_rows(tree, tables):
        supervisions = row.values.get("supervisions") if isinstance(row, Row) else None
        if isinstance(row, Reject):
            yield row
        elif not isinstance(supervisions, list) or not supervisions:
            what = "a mixed cut" if "tracks" in row.values else "a cut without supervisions"
            yield Reject(row.source, row.line, f"no plain cut: found {what}, expected one with supervisions")
        else:
            parts = ({**row.values, "supervisions": [supervision]} for supervision in supervisions)
            yield from (Row(row.table, row.line, {"cut": part}) for part in parts)


def _supervision_rows(tree: FileTree, tables: Sequence[str]) -> Iterator[Row | Reject]:
    """A row for each supervision, with the dictionary of its recording."""
    for table in tables:
        folder, name = posixpath.split(table)
        recordings = posixpath.join(folder, name.replace("supervisions", "recordings"))
        if recordings not in tree:
            raise UserError(f"{tree.root}: no {recordings} for {table}. Put the two manifests side by side.")
        with contextlib.closing(temporary_database()) as database:
            database.execute("CREATE TABLE recordings (id TEXT PRIMARY KEY, content TEXT)")
            for row in read_json_lines(tree, recordings):
                if isinstance(row, Reject):
                    yield row
                else:
                    pair = (json.dumps(row.values.get("id")), json.dumps(row.values))
                    database.execute("INSERT OR IGNORE INTO recordings VALUES (?, ?)", pair)
            yield from _with_recordings(read_json_lines(tree, table), database)


def _with_recordings(rows: Iterable[Row | Reject], database: sqlite3.Connection) -> Iterator[Row | Reject]:
    for row in rows:
        if isinstance(row, Reject):
            yield row
            continue
        wanted = json.dumps(row.values.get("recording_id"))
        found = database.execute("SELECT content FROM recordings WHERE id = ?", (wanted,)).fetchone()
        if found is None:
            yield Reject(row.source, row.line, f"no recording: {shown(row.values.get('recording_id'))}")
        else:
            yield Row(row.table, row.line, {"supervision": row.values, "recording": json.loads(found[0])})


def _lhotse_row(tree: FileTree, splits: Mapping[str, str | None], row: Row) -> Utterance:
    try:
        return _lhotse_utterance(tree, splits, row)
    except (TypeError, KeyError, ValueError, AttributeError, AssertionError, IndexError) as error:
        raise BadItem(f"bad manifest: lhotse cannot read it ({type(error).__name__}: {error})") from None


def _lhotse_utterance(tree: FileTree, splits: Mapping[str, str | None], row: Row) -> Utterance:
    supervision, recording, offset = _read_lhotse(row)
    start, end = _lhotse_times(supervision, recording, offset)
    if set(_as_list(supervision.channel)) != set(recording.channel_ids or (0,)):
        raise BadItem(f"one channel of several: {recording.id}; write each channel to a file of its own")
    said = {name: getattr(supervision, name) for name in ("text", "speaker", "language", "gender")}
    details = Row(row.table, row.line, {**(supervision.custom or {}), **said})
    language = language_of(details.label("language") or "")
    taken = ("text", "speaker", *(("language",) if language else ()))
    return Utterance(
        id=usable_id(str(supervision.id)),
        audio=_lhotse_audio(tree, posixpath.dirname(row.table), recording),
        text=details.spoken("text"),
        source=row.source,
        position=row.line,
        start=start,
        end=end,
        language=language,
        speaker=details.label("speaker"),
        recording=usable_id(str(recording.id)),
        split=splits[row.table],
        extra=details.extras(*taken),
    )


def _lhotse_times(
    supervision: "SupervisionSegment", recording: "Recording", offset: float
) -> tuple[float | None, float | None]:
    """Where in the recording a supervision is; None for both means all of it."""
    start = offset + manifest_seconds("start", supervision.start, least=-offset)
    end = start + manifest_seconds("duration", supervision.duration)
    if start == 0 and end >= manifest_seconds("duration", recording.duration) - 0.001:
        return None, None
    if problem := segment_problem(start, end):
        raise BadItem(problem)
    return start, end


def _as_list(channel: int | list[int]) -> list[int]:
    return [channel] if isinstance(channel, int) else channel


def _read_lhotse(row: Row) -> "tuple[SupervisionSegment, Recording, float]":
    """A supervision, its recording, and where in the recording the supervision's time begins.

    Raises:
        BadItem: It is no part of one recording.
    """
    from lhotse import Recording, SupervisionSegment

    if "cut" in row.values:
        cut = _read_cut(row)
        return cut.supervisions[0], cut.recording, manifest_seconds("start", cut.start)
    supervision = SupervisionSegment.from_dict(row.values["supervision"])
    return supervision, Recording.from_dict(row.values["recording"]), 0.0


def _read_cut(row: Row) -> "Cut":
    from lhotse.cut import MonoCut, MultiCut
    from lhotse.serialization import deserialize_item

    content = row.values["cut"]
    cut = deserialize_item(json.loads(json.dumps(content)))  # it takes its dictionary apart
    if not isinstance(cut, MonoCut | MultiCut) or cut.recording is None:
        raise BadItem(f"no plain cut: found a {type(cut).__name__}, expected a cut of a recording")
    return cut


def _lhotse_audio(tree: FileTree, folder: str, recording: "Recording") -> Audio:
    if len(recording.sources) != 1:
        raise BadItem(f"several files: recording {recording.id} has {len(recording.sources)}, expected one")
    source = recording.sources[0]
    if source.type == "command":
        raise BadItem(
            f"command in a manifest: {shown(source.source)}; it is not run, write its output to a file"
        )
    if source.type != "file" or not isinstance(source.source, str):
        raise BadItem(f"no file: recording {recording.id} is a {source.type!r}; save its audio to a file")
    if recording.transforms:
        raise BadItem(
            f"altered recording: {recording.id} is to be transformed; save what comes out to a file"
        )
    return find_audio(tree, folder, source.source)


# ---- what several share ------------------------------------------------------------------------------------


def _manifests_at(path: Path, *patterns: str) -> tuple[FileTree, list[str]]:
    """The manifests of a folder or archive, or the one that `path` itself is."""
    if path.is_file() and any(path.match(pattern) for pattern in patterns):
        return Folder(path.parent), [path.name]
    tree = open_tree(path)
    return tree, find_files(tree, *patterns)


def find_audio(tree: FileTree, folder: str, written: str) -> Audio:
    """Audio by its path from the manifest or the root; an absolute one also where the corpus is now."""
    try:
        os.fsencode(written)
    except UnicodeEncodeError:
        raise BadItem(f"broken characters in the audio path: {shown(written)}") from None
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
    """A time as a manifest gives it.

    Raises:
        BadItem: It is no number, or below the least.
    """
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not least <= seconds < 1e9:  # also False for NaN
        raise BadItem(f"time out of range: {name} is {shown(value)}, expected seconds from 0")
    return seconds
