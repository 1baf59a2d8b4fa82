"""Reads LJSpeech and corpora with the same layout."""

import posixpath
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from utils.data.archives.tree import FileTree, find_tables, open_tree
from utils.data.sources.rows import and_unlisted, rows_as_source
from utils.data.sources.tables import Row, read_table
from utils.data.utterance import Reject, Source, Utterance
from utils.runtime.errors import UserError

_LJSPEECH_COLUMNS = ("id", "text", "normalized_text")


def read_ljspeech(path: Path, *, text_column_name: str | None = None) -> Source:
    """Read LJSpeech (https://keithito.com/LJ-Speech-Dataset) or a corpus with its layout.

    `metadata.csv` has lines `id|text|normalised text`; the last column is optional. Audio is `wavs/<id>.wav`.

    Args:
        path: Folder or archive.
        text_column_name: `text` (also if None), or `normalized_text` with numbers in words.

    Raises:
        UserError: There is no such corpus or no such column.
    """
    text_column = text_column_name or "text"
    if text_column not in _LJSPEECH_COLUMNS[1:]:
        raise UserError(f"no column {text_column!r} in LJSpeech; expected text or normalized_text.")
    tree = open_tree(path)
    table = find_tables(tree, "metadata.csv", corpus="LJSpeech or a corpus with its layout")[0]
    return rows_as_source(partial(_ljspeech_rows, tree, table), partial(_ljspeech_row, tree, text_column))


def _ljspeech_rows(tree: FileTree, table: str) -> Iterator[Row | Reject]:
    rows = read_table(tree, table, separator="|", columns=_LJSPEECH_COLUMNS, optional=1)
    return and_unlisted(rows, tree, _ljspeech_wav, table)


def _ljspeech_wav(row: Row) -> str:
    return posixpath.join(posixpath.dirname(row.table), "wavs", f"{row.values['id']}.wav")


def _ljspeech_row(tree: FileTree, text_column: str, row: Row) -> Utterance:
    chapter = re.fullmatch(r"(LJ\d+)-\d+", row.text("id"))
    return row.utterance(
        id=row.text("id"),
        audio=tree.audio(_ljspeech_wav(row)),
        text=row.spoken(text_column),
        recording=chapter[1] if chapter else None,
        extra=row.extras("id", text_column),
    )
