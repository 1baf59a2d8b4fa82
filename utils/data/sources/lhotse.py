"""Reads lhotse manifests."""

import contextlib
import json
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from utils.data.archives.tree import FileTree, Folder
from utils.data.fields import shown, usable_id
from utils.data.segmentation.pieces import check_segment
from utils.data.sources.ordering import temporary_database
from utils.data.sources.rows import (
    find_audio,
    manifest_seconds,
    manifests_at,
    rows_as_source,
    split_in_name,
)
from utils.data.sources.tables import Row, read_json_lines
from utils.data.split_names import splits_of_names, unsplit_notes
from utils.data.utterance import Audio, Reject, Source, Utterance
from utils.runtime.errors import UserError
from utils.runtime.problems import BadItem
from utils.text.languages import whisper_language

if TYPE_CHECKING:
    from lhotse import Recording, SupervisionSegment


_ReadRow = Callable[[Mapping], "tuple[SupervisionSegment, Recording, float]"]
"""Function that reads a supervision and its recording.

It also returns the second of the recording from which the times of the supervision are counted.
"""


def read_lhotse(path: Path) -> Source:
    """Read lhotse manifests (https://lhotse.readthedocs.io): cuts, or supervisions with their recordings.

    `*cuts*.jsonl[.gz]` are preferred to `*supervisions*.jsonl[.gz]`, whose recordings are in `*recordings*`.
    The names of the files give the split. Each supervision is an utterance. Mixed cuts and transforms are
    rejected.

    Args:
        path: A manifest of cuts, or a folder or archive of manifests.

    Raises:
        UserError: There is no manifest, or a manifest of supervisions has no recordings.
    """
    tree, tables = manifests_at(path, "*.jsonl", "*.jsonl.gz")
    supervisions = [name for name in tables if "supervisions" in posixpath.basename(name)]
    is_named = isinstance(tree, Folder) and path.is_file()  # a file given by the user may have any name
    cuts = [name for name in tables if "cuts" in posixpath.basename(name) or is_named]
    cuts = [name for name in cuts if name not in supervisions]
    if not cuts and not supervisions:
        raise UserError(
            f"{path}: no *cuts*.jsonl and no *supervisions*.jsonl. --input must name lhotse manifests."
        )
    read_rows = partial(_cut_rows, tree, cuts) if cuts else partial(_supervision_rows, tree, supervisions)
    read = _read_cut if cuts else _read_supervision
    splits = splits_of_names(cuts or supervisions, split_in_name)
    unread = (
        (f"Only cuts are read. These are not: {', '.join(supervisions)}.",) if cuts and supervisions else ()
    )
    notes = (*unread, *unsplit_notes(splits))
    return rows_as_source(read_rows, partial(_lhotse_row, tree, splits, read), notes, are_parts=True)


def _cut_rows(tree: FileTree, tables: Sequence[str]) -> Iterator[Row | Reject]:
    """Yield a row for each supervision of each cut. The row has the cut with only that supervision."""
    for row in read_json_lines(tree, *tables):
        supervisions = row.values.get("supervisions") if isinstance(row, Row) else None
        if isinstance(row, Row) and isinstance(supervisions, list):
            parts = [{**row.values, "supervisions": [part]} for part in supervisions] or [{**row.values}]
            yield from (Row(row.table, row.line, part) for part in parts)
        else:
            yield row


def _supervision_rows(tree: FileTree, tables: Sequence[str]) -> Iterator[Row | Reject]:
    """Yield a row for each supervision.

    If its recording is known, the row has the dictionary of the recording too.
    """
    for table in tables:
        folder, name = posixpath.split(table)
        recordings = posixpath.join(folder, name.replace("supervisions", "recordings"))
        if recordings not in tree:
            raise UserError(f"{tree.root}: no {recordings} for {table}. Put both in the same folder.")
        with contextlib.closing(temporary_database()) as database:
            database.execute("CREATE TABLE recordings (id TEXT PRIMARY KEY, content TEXT)")
            for row in read_json_lines(tree, recordings):
                if isinstance(row, Reject):
                    yield row
                else:
                    pair = (json.dumps(row.values.get("id")), json.dumps(row.values))
                    database.execute("INSERT OR IGNORE INTO recordings VALUES (?, ?)", pair)
            query = "SELECT content FROM recordings WHERE id = ?"
            for row in read_json_lines(tree, table):
                if isinstance(row, Row):
                    wanted = json.dumps(row.values.get("recording_id"))
                    (found,) = database.execute(query, (wanted,)).fetchone() or ("null",)
                    values = {"supervision": row.values, "recording": json.loads(found)}
                    row = Row(row.table, row.line, values)
                yield row


def _lhotse_row(tree: FileTree, splits: Mapping[str, str | None], read: _ReadRow, row: Row) -> Utterance:
    try:
        return _lhotse_utterance(tree, splits, read, row)
    except (TypeError, KeyError, ValueError, AttributeError, AssertionError, IndexError) as error:
        raise BadItem("bad manifest", f"lhotse cannot read it ({type(error).__name__}: {error})") from None


def _lhotse_utterance(
    tree: FileTree, splits: Mapping[str, str | None], read: _ReadRow, row: Row
) -> Utterance:
    supervision, recording, offset = read(row.values)
    start, end = _lhotse_times(supervision, recording, offset)
    channels = {supervision.channel} if isinstance(supervision.channel, int) else set(supervision.channel)
    if channels != set(recording.channel_ids or (0,)):
        raise BadItem("one channel of several", f"{recording.id}; save each channel to a file of its own")
    said = {name: getattr(supervision, name) for name in ("text", "speaker", "language", "gender")}
    details = Row(row.table, row.line, {**(supervision.custom or {}), **said})
    language = whisper_language(details.label("language") or "")
    taken = ("text", "speaker", *(("language",) if language else ()))
    return row.utterance(
        id=str(supervision.id),
        audio=_lhotse_audio(tree, posixpath.dirname(row.table), recording),
        text=details.spoken("text"),
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
    """Return start and end of a supervision in the recording. If both are None, it is the whole recording."""
    start = offset + manifest_seconds("start", supervision.start, least=-offset)
    end = start + manifest_seconds("duration", supervision.duration)
    if start == 0 and end >= manifest_seconds("duration", recording.duration) - 0.001:
        return None, None
    check_segment(start, end)
    return start, end


def _read_supervision(values: Mapping) -> "tuple[SupervisionSegment, Recording, float]":
    from lhotse import Recording, SupervisionSegment

    if values["recording"] is None:
        raise BadItem("no recording", shown(values["supervision"].get("recording_id")))
    supervision = SupervisionSegment.from_dict(values["supervision"])
    return supervision, Recording.from_dict(values["recording"]), 0.0


def _read_cut(values: Mapping) -> "tuple[SupervisionSegment, Recording, float]":
    from lhotse.cut import MonoCut, MultiCut
    from lhotse.serialization import deserialize_item

    if not values.get("supervisions") or not isinstance(values["supervisions"], list):
        what = "a mixed cut" if "tracks" in values else "a cut without supervisions"
        raise BadItem("no plain cut", f"found {what}, expected one with supervisions")
    cut = deserialize_item(json.loads(json.dumps(values)))  # a copy, because lhotse changes its dictionary
    if not isinstance(cut, MonoCut | MultiCut) or cut.recording is None:
        raise BadItem("no plain cut", f"found a {type(cut).__name__}, expected a cut of a recording")
    return cut.supervisions[0], cut.recording, manifest_seconds("start", cut.start)


def _lhotse_audio(tree: FileTree, folder: str, recording: "Recording") -> Audio:
    if len(recording.sources) != 1:
        raise BadItem("several files", f"recording {recording.id} has {len(recording.sources)}, expected one")
    source = recording.sources[0]
    if source.type == "command":
        raise BadItem(
            "command in a manifest", f"{shown(source.source)}; it is not run, save its output to a file"
        )
    if source.type != "file" or not isinstance(source.source, str):
        raise BadItem("no file", f"recording {recording.id} is a {source.type!r}; save its audio to a file")
    if recording.transforms:
        raise BadItem(
            "altered recording", f"{recording.id} has transforms; save the transformed audio to a file"
        )
    return find_audio(tree, folder, source.source)
