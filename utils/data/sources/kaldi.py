"""Reads Kaldi data folders. Commands in wav.scp are never run."""

import contextlib
import posixpath
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from utils.data.archives.tree import FileTree, find_files, open_tree
from utils.data.fields import printable, shown
from utils.data.segmentation.pieces import check_segment
from utils.data.sources.ordering import temporary_database
from utils.data.sources.rows import find_audio, manifest_seconds, rows_as_source, split_in_name
from utils.data.sources.tables import Row, read_lines
from utils.data.split_names import splits_of_names, unsplit_notes
from utils.data.utterance import Audio, Reject, Source, Utterance
from utils.runtime.errors import UserError
from utils.runtime.problems import BadItem, Problem
from utils.text.languages import whisper_language

_KALDI_FILES = ("text", "wav.scp", "segments", "utt2spk", "utt2lang", "spk2gender")

_KALDI_ARCHIVE = re.compile(r"\.(ark|scp)(:\d+)?$|^(ark|scp)[,:]")


def read_kaldi(path: Path) -> Source:
    """Read Kaldi data folders (https://kaldi-asr.org/doc/data_prep.html): `wav.scp` and `text`.

    `segments`, `utt2spk`, `utt2lang` and `spk2gender` in the same folder are optional. Folders named after
    splits give the split.

    Args:
        path: A data folder, a folder of data folders (`train`, `dev`, `test`), or an archive.

    Raises:
        UserError: There is no data folder.
    """
    tree = open_tree(path)
    folders = _kaldi_folders(tree)
    splits = splits_of_names(folders, split_in_name)
    return rows_as_source(
        partial(_kaldi_rows, tree, folders), partial(_kaldi_row, tree, splits), unsplit_notes(splits)
    )


def _kaldi_folders(tree: FileTree) -> list[str]:
    """Find folders with `wav.scp` and `text`.

    Ignore folders inside another one, because they are its parts (`train/split4/1`).
    """
    folders: list[str] = []
    for name in find_files(tree, "wav.scp"):
        folder = posixpath.dirname(name)
        is_part = any(not outer or folder.startswith(f"{outer}/") for outer in folders)
        if not is_part and posixpath.join(folder, "text") in tree:
            folders.append(folder)
    if not folders:
        raise UserError(
            f"{tree.root}: no folder with wav.scp and text. --input must name a Kaldi data folder."
        )
    return folders


def _kaldi_rows(tree: FileTree, folders: Sequence[str]) -> Iterator[Row | Reject]:
    for folder in folders:
        with contextlib.closing(temporary_database()) as database:
            for name in _KALDI_FILES:
                yield from _load_kaldi_file(database, tree, folder, name)
            yield from _joined_kaldi_rows(database, posixpath.join(folder, "text"))
            yield from _untold_kaldi_keys(database, folder)


def _load_kaldi_file(
    database: sqlite3.Connection, tree: FileTree, folder: str, name: str
) -> Iterator[Reject]:
    """Put the lines `key value` of a file into a table. Reject a line if an earlier line has the same key."""
    # `word` is the recording in `segments`, and the whole value in `utt2spk`
    database.execute(f'CREATE TABLE "{name}" (key BLOB PRIMARY KEY, value BLOB, word BLOB, line INTEGER)')
    table = posixpath.join(folder, name)
    if table not in tree:
        return
    for number, line in read_lines(tree, table):
        if not line.strip():
            continue
        key, value = re.match(r"([^ \t]*)[ \t]*(.*)", line.strip(), re.DOTALL).groups()  # type: ignore[union-attr]
        values = (_to_blob(key), _to_blob(value), _to_blob(re.split(r"[ \t]", value, maxsplit=1)[0]), number)
        try:
            database.execute(f'INSERT INTO "{name}" VALUES (?, ?, ?, ?)', values)
        except sqlite3.IntegrityError:
            problem = Problem("duplicate id", f"{printable(key)} is already in an earlier line")
            yield Reject(printable(table), number, problem)


def _joined_kaldi_rows(database: sqlite3.Connection, table: str) -> Iterator[Row]:
    """Yield one row for each line of `text`. Rows of one recording follow each other."""
    columns = ("line", "id", "text", "segment", "wav", "speaker", "language", "gender")
    recording = "segments.word" if _has_segments(database) else "text.key"
    query = f"""
        SELECT text.line, text.key, text.value, segments.value, "wav.scp".value, utt2spk.word, utt2lang.word,
            spk2gender.word
        FROM text LEFT JOIN segments USING (key) LEFT JOIN utt2spk USING (key) LEFT JOIN utt2lang USING (key)
        LEFT JOIN "wav.scp" ON "wav.scp".key = {recording}
        LEFT JOIN spk2gender ON spk2gender.key = utt2spk.word
        ORDER BY "wav.scp".line, text.line
    """
    for line, *blobs in database.execute(query):
        texts = [None if blob is None else blob.decode("utf-8", "surrogateescape") for blob in blobs]
        values = dict(zip(columns[1:], texts, strict=True))
        yield Row(table, line, values | {"is_cut": recording != "text.key"})


def _untold_kaldi_keys(database: sqlite3.Connection, folder: str) -> Iterator[Reject]:
    """Reject utterances that are not in `text`."""
    name = "segments" if _has_segments(database) else "wav.scp"
    query = f'SELECT line, key FROM "{name}" WHERE key NOT IN (SELECT key FROM text) ORDER BY line'
    for line, key in database.execute(query):
        problem = Problem("no transcript", f"{key.decode('utf-8', 'replace')} is not in text")
        yield Reject(printable(posixpath.join(folder, name)), line, problem)


def _has_segments(database: sqlite3.Connection) -> bool:
    return database.execute("SELECT 1 FROM segments LIMIT 1").fetchone() is not None


def _kaldi_row(tree: FileTree, splits: Mapping[str, str | None], row: Row) -> Utterance:
    folder = posixpath.dirname(row.table)
    if row.values["is_cut"] and row.values["segment"] is None:
        raise BadItem("no segment", f"{shown(row.values['id'])} is not in segments")
    if row.values["wav"] is None:
        raise BadItem("no recording", f"the recording of {shown(row.values['id'])} is not in wav.scp")
    start, end = _kaldi_times(row.label("segment"))
    return row.utterance(
        id=row.text("id"),
        audio=_kaldi_audio(tree, folder, row.text("wav")),
        text=row.spoken("text"),
        start=start,
        end=end,
        language=whisper_language(row.label("language") or ""),
        speaker=row.label("speaker"),
        recording=(row.label("segment") or "").split()[0] if row.values["is_cut"] else None,
        split=splits[folder],
        extra={"gender": gender} if (gender := row.label("gender")) else {},
    )


def _kaldi_times(segment: str | None) -> tuple[float | None, float | None]:
    """Read start and end from `recording start end`. From 0 to -1 means the whole recording."""
    if segment is None:
        return None, None
    fields = segment.split()
    if len(fields) != 3:
        raise BadItem("malformed segment", f"{shown(segment)}, expected a recording, start and end")
    start, end = manifest_seconds("start", fields[1]), manifest_seconds("end", fields[2], least=-1.0)
    if end == -1:
        if start == 0:
            return None, None
        raise BadItem(
            "open end",
            f"the segment starts at {start:g} s and ends at -1, expected its end in seconds; "
            "write the length of the recording, for example from Kaldi's get_reco2dur.sh",
        )
    check_segment(start, end)
    return start, end


def _kaldi_audio(tree: FileTree, folder: str, written: str) -> Audio:
    if written.endswith("|") or written.startswith("|"):
        raise BadItem("command in wav.scp", f"{shown(written)}; it is not run, save its output to a file")
    if _KALDI_ARCHIVE.search(written):
        raise BadItem("Kaldi archive", f"{shown(written)}; save the audio to files, e.g. with wav-copy")
    return find_audio(tree, folder, written)


def _to_blob(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
