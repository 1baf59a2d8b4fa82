"""Reads NeMo manifests."""

import math
import posixpath
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from utils.data.archives.tree import FileTree
from utils.data.segmentation.pieces import check_segment
from utils.data.sources.rows import (
    find_audio,
    manifest_seconds,
    manifests_at,
    rows_as_source,
    split_in_name,
)
from utils.data.sources.tables import Row, first_rows, read_json_lines
from utils.data.split_names import given_splits, known_split, splits_of_names, unsplit_notes
from utils.data.utterance import Source, Utterance
from utils.runtime.errors import UserError
from utils.runtime.problems import BadItem
from utils.text.languages import whisper_language

_NEMO_TAKEN = ("audio_filepath", "offset", "duration", "text", "speaker", "split")

_NEMO_LANGUAGES = ("target_lang", "lang", "source_lang")


def read_nemo(path: Path) -> Source:
    """Read NeMo manifests: JSON lines with `audio_filepath`, `text`, `duration` and optional `offset`.

    A line with `offset` means a part of the file. A line without it means the whole file. Format:
    https://docs.nvidia.com/nemo-framework/user-guide/latest/nemotoolkit/asr/datasets.html

    Args:
        path: A manifest, or a folder or archive of manifests. Their names contain the split.

    Raises:
        UserError: There is no manifest.
    """
    tree, tables = manifests_at(path, "*.json", "*.jsonl")
    tables = [name for name in tables if is_nemo(tree, name)]
    if not tables:
        raise UserError(f"{path}: no JSON lines with audio_filepath. --input must name a NeMo manifest.")
    total, given = 0, set[str]()
    for row in read_json_lines(tree, *tables):
        total += 1
        given |= given_splits([row.values]) if isinstance(row, Row) else set()
    splits = splits_of_names([*tables, *given], split_in_name)
    return rows_as_source(
        partial(read_json_lines, tree, *tables),
        partial(_nemo_row, tree, splits),
        () if given else unsplit_notes(splits),
        total=total,
        are_parts=True,
    )


def is_nemo(tree: FileTree, name: str) -> bool:
    """Check whether one of the first lines has `audio_filepath`."""
    return any("audio_filepath" in row.values for row in first_rows(tree, name))


def _nemo_row(tree: FileTree, splits: Mapping[str, str | None], row: Row) -> Utterance:
    written = row.text("audio_filepath")
    if not written:
        raise BadItem("empty audio path", "expected a path relative to the manifest")
    start, end = _nemo_times(row)
    split = row.label("split")
    language = whisper_language(row.label(*_NEMO_LANGUAGES) or "")
    taken = _NEMO_TAKEN if language is None else (*_NEMO_TAKEN, *_NEMO_LANGUAGES)
    return row.utterance(
        id=f"{PurePosixPath(row.table).with_suffix('')}-{row.line:06d}",
        audio=find_audio(tree, posixpath.dirname(row.table), written),
        text=row.spoken("text"),
        start=start,
        end=end,
        language=language,
        speaker=_nemo_speaker(row),
        split=known_split(split, splits) if split else splits[row.table],
        extra=row.extras(*taken),
    )


def _nemo_speaker(row: Row) -> str | None:
    """Return the speaker. If some numbers are missing, pandas writes `12.0` for 12 and NaN for none."""
    value = row.values.get("speaker")
    if isinstance(value, float) and math.isnan(value):
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else row.label("speaker")


def _nemo_times(row: Row) -> tuple[float | None, float | None]:
    if row.values.get("offset") is None:
        return None, None
    if row.values.get("duration") is None:
        raise BadItem("offset without duration", "give both or neither")
    start = manifest_seconds("offset", row.values["offset"])
    end = start + manifest_seconds("duration", row.values["duration"])
    check_segment(start, end)
    return start, end
