"""Reads audio folders: audio files and their metadata, without `datasets`."""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from utils.data.archives.tree import FileTree, find_tables, open_tree
from utils.data.sources.rows import and_unlisted, rows_as_source
from utils.data.sources.tables import (
    LANGUAGE_COLUMNS,
    SPEAKER_COLUMNS,
    TEXT_COLUMNS,
    Row,
    read_json_lines,
    read_table,
)
from utils.data.split_names import given_splits, known_split, splits_of_names
from utils.data.utterance import Reject, Source, Utterance
from utils.runtime.files import spellings
from utils.runtime.problems import BadItem
from utils.text.languages import whisper_language


def read_audiofolder(path: Path, *, text_column_name: str | None = None) -> Source:
    """Read an audio folder (https://huggingface.co/docs/datasets/audio_dataset): audio files and their
    metadata.

    `metadata.csv` or `metadata.jsonl`, at the root or in subfolders, has a transcript and `file_name`, a path
    relative to the metadata. Subfolders named after splits, or a column `split`, give the split.

    Args:
        path: Folder or archive.
        text_column_name: Column of the transcript. None searches for a usual name.

    Raises:
        UserError: There is no metadata, or it has no column `file_name`.
    """
    tree = open_tree(path)
    tables = find_tables(tree, "metadata.csv", "metadata.jsonl", corpus="an audio folder")
    total, names = 0, set[str]()  # possible names of splits: folders, and values of the column
    for row in _audiofolder_rows(tree, tables):
        total += 1
        if isinstance(row, Row):
            names.update(_audiofolder_name(tree, row).split("/")[:-1], given_splits([row.values]))
    return rows_as_source(
        partial(_audiofolder_rows, tree, tables),
        partial(_audiofolder_row, tree, splits_of_names(names), text_column_name),
        total=total,
    )


def _audiofolder_rows(tree: FileTree, tables: Sequence[str]) -> Iterator[Row | Reject]:
    rows = _listed_rows(tree, tables)
    return and_unlisted(rows, tree, partial(_audiofolder_name, tree), "the metadata")


def _listed_rows(tree: FileTree, tables: Sequence[str]) -> Iterator[Row | Reject]:
    for table in tables:
        if table.endswith(".csv"):
            yield from read_table(tree, table, separator=",", needed=("file_name",))
        else:
            yield from read_json_lines(tree, table)


def _audiofolder_name(tree: FileTree, row: Row) -> str:
    """Return the path that a row names, in the Unicode form of the corpus."""
    written = posixpath.join(posixpath.dirname(row.table), str(row.values.get("file_name")))
    name = posixpath.normpath(written)
    places = [] if name.isascii() else spellings(name)
    return next((place for place in places if place in tree), name)


def _audiofolder_row(
    tree: FileTree, splits: Mapping[str, str | None], text_column: str | None, row: Row
) -> Utterance:
    written, name = row.text("file_name"), _audiofolder_name(tree, row)
    if not written.strip():
        raise BadItem("empty audio path", "expected a path relative to the metadata")
    candidates = (text_column,) if text_column else TEXT_COLUMNS
    text = next((column for column in candidates if row.values.get(column) is not None), None)
    if text is None:
        found = ", ".join(map(str, row.values))
        raise BadItem("no transcript", f"found {found}; expected {', '.join(candidates)}")
    language = row.label(*LANGUAGE_COLUMNS)
    code, given = whisper_language(language) if language else None, row.label("split")
    taken = ("file_name", "split", "group", text, *SPEAKER_COLUMNS, *(("language",) if code else ()))
    by_folder = (splits[part] for part in name.split("/")[:-1])
    return row.utterance(
        id=name,
        audio=tree.audio(name),
        text=row.spoken(text),
        language=code,
        speaker=row.label(*SPEAKER_COLUMNS),
        group=row.label("group"),
        split=known_split(given, splits) if given else next(filter(None, by_folder), None),
        extra=row.extras(*taken),
    )
