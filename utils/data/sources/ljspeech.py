"""Reader of LJSpeech and corpora of its layout."""

import posixpath
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from utils.data.archives.tree import FileTree, find_files, open_tree
from utils.data.sources.rows import reject_unlisted, rows_as_source
from utils.data.sources.tables import Row, read_table, usable_id
from utils.data.utterance import Reject, Source, Utterance
from utils.runtime.errors import UserError

_LJSPEECH_COLUMNS = ("id", "text", "normalized_text")


def read_ljspeech(path: Path, *, text_column_name: str | None = None) -> Source:
    """Read LJSpeech (https://keithito.com/LJ-Speech-Dataset) and what is laid out like it.

    `metadata.csv` with `id|text|normalised text`, the last of which may lack, and `wavs/<id>.wav`.

    Args:
        path: Folder or archive.
        text_column_name: `text` (also when None), or `normalized_text` with numbers in words.

    Raises:
        UserError: There is no such corpus, or no such column.
    """
    text_column = text_column_name or "text"
    if text_column not in _LJSPEECH_COLUMNS[1:]:
        raise UserError(f"no column {text_column!r} in LJSpeech; expected text or normalized_text.")
    tree = open_tree(path)
    tables = find_files(tree, "metadata.csv")
    if not tables:
        raise UserError(f"{path}: no metadata.csv. --input must name LJSpeech or a corpus laid out like it.")
    return rows_as_source(partial(_ljspeech_rows, tree, tables[0]), partial(_ljspeech_row, tree, text_column))


def _ljspeech_rows(tree: FileTree, table: str) -> Iterator[Row | Reject]:
    listed = set[str]()
    for row in read_table(tree, table, separator="|", columns=_LJSPEECH_COLUMNS, optional=1):
        if isinstance(row, Row):
            listed.add(_ljspeech_wav(row))
        yield row
    yield from reject_unlisted(tree, listed, table)


def _ljspeech_wav(row: Row) -> str:
    return posixpath.join(posixpath.dirname(row.table), "wavs", f"{row.values['id']}.wav")


def _ljspeech_row(tree: FileTree, text_column: str, row: Row) -> Utterance:
    chapter = re.fullmatch(r"(LJ\d+)-\d+", row.text("id"))
    return Utterance(
        id=usable_id(row.text("id")),
        audio=tree.audio(_ljspeech_wav(row)),
        text=row.spoken(text_column),
        source=row.source,
        position=row.line,
        recording=chapter[1] if chapter else None,
        extra=row.extras("id", text_column),
    )
