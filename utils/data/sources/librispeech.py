"""Reads LibriSpeech and corpora with the same layout."""

import posixpath
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from utils.data.archives.tree import FileTree, find_files, find_tables, open_tree
from utils.data.fields import shown
from utils.data.sources.rows import and_unlisted, rows_as_source
from utils.data.sources.tables import Row, read_lines
from utils.data.split_names import split_name
from utils.data.utterance import Reject, Source, Utterance
from utils.runtime.problems import BadItem


def read_librispeech(path: Path) -> Source:
    """Read LibriSpeech (https://www.openslr.org/12): `<subset>/<speaker>/<chapter>/*.trans.txt` and `.flac`.

    The subset gives the split (`train-clean-100`, `dev-other`). The recording is the chapter. The gender
    comes from `SPEAKERS.TXT`, if that exists.

    Raises:
        UserError: There is no such corpus.
    """
    tree = open_tree(path)
    tables = find_tables(tree, "*.trans.txt", corpus="LibriSpeech or one of its subsets")
    return rows_as_source(
        partial(_librispeech_rows, tree, tables),
        partial(_librispeech_row, tree, _librispeech_genders(tree)),
        notes=["LibriSpeech's transcripts are in upper case and have no punctuation."],
    )


def _librispeech_rows(tree: FileTree, tables: Sequence[str]) -> Iterator[Row | Reject]:
    rows = (
        Row(table, line, dict(zip(("id", "text"), content.partition(" ")[::2], strict=True)))
        for table in tables
        for line, content in read_lines(tree, table)
        if content.strip()
    )
    return and_unlisted(rows, tree, _librispeech_flac, "its .trans.txt")


def _librispeech_flac(row: Row) -> str:
    return posixpath.join(posixpath.dirname(row.table), f"{row.values['id']}.flac")


def _librispeech_row(tree: FileTree, genders: dict[str, str], row: Row) -> Utterance:
    id, chapter = row.text("id"), posixpath.dirname(row.table)
    parts = f"{tree.root.name}/{chapter}".split("/")  # …, subset, speaker, chapter
    if len(parts) < 3 or id.split("-")[:2] != parts[-2:]:
        raise BadItem("malformed row", f"{shown(id)} in {row.table}, expected speaker-chapter-number")
    return row.utterance(
        id=id,
        audio=tree.audio(_librispeech_flac(row)),
        text=row.spoken("text"),
        language="en",
        speaker=parts[-2],
        recording="-".join(parts[-2:]),
        split=split_name(parts[-3]),
        extra={"gender": genders[parts[-2]]} if parts[-2] in genders else {},
    )


def _librispeech_genders(tree: FileTree) -> dict[str, str]:
    """Read the gender (F, M) of each speaker from lines like `14 | F | train-clean-360 | 25.03 | name`."""
    fields = [
        [field.strip() for field in line.split("|")]
        for name in find_files(tree, "SPEAKERS.TXT")
        for _, line in read_lines(tree, name)
        if not line.startswith(";")
    ]
    return {field[0]: field[1] for field in fields if len(field) >= 2 and field[1] in ("F", "M")}
