"""Signs by which the kind of a corpus is known: names of its tables, their columns, files side by side."""

import csv
import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from utils.data.archives.tree import FileTree
from utils.data.fields import printable
from utils.data.sources.afrispeech import AFRISPEECH_PATHS
from utils.data.sources.manifest import find_manifests
from utils.data.sources.nemo import is_nemo
from utils.data.sources.rows import split_in_name
from utils.data.sources.tables import csv_separator, first_rows, read_lines
from utils.runtime.errors import UserError

_COMMON_VOICE = ("client_id", "path", "sentence")

_SPLIT_TABLES = ("train.tsv", "dev.tsv", "test.tsv")


@dataclass(frozen=True)
class Contents:
    """What is known of an input before it is read.

    `tables` are the files that are no audio and no transcript of one recording. The topmost come first.
    `pair` is a recording with its transcript, if there is one.
    """

    tree: FileTree
    tables: list[str]
    pair: tuple[str, str] | None = None

    def named(self, *names: str) -> Iterator[str]:
        return (table for table in self.tables if posixpath.basename(table) in names)

    def ending(self, *ends: str) -> Iterator[str]:
        return (table for table in self.tables if table.endswith(ends))


@dataclass(frozen=True)
class Sign:
    """The sign of one kind of source.

    `find` returns what it found, in words, or None. `read_as` and `looked_for` are words for messages.
    """

    read_as: str
    looked_for: str
    find: Callable[[Contents], str | None]


def _common_voice(found: Contents) -> str | None:
    tables = found.named(*_SPLIT_TABLES, "validated.tsv")
    fitting = (name for name in tables if set(_COMMON_VOICE) <= set(_head(found.tree, name).split("\t")))
    return _said(fitting, f"has the columns {', '.join(_COMMON_VOICE)}")


def _fleurs(found: Contents) -> str | None:
    heads = ((name, _head(found.tree, name).split("\t")) for name in found.named(*_SPLIT_TABLES))
    fitting = (name for name, fields in heads if len(fields) == 7 and fields[0].isdecimal())
    return _said(fitting, "has the seven columns of FLEURS, without a header")


def _afrispeech(found: Contents) -> str | None:
    names = filter(split_in_name, found.ending(".csv"))
    tables = ((name, set(_csv_columns(found.tree, name))) for name in names)
    fitting = (
        name for name, columns in tables
        if {"transcript", "accent"} <= columns and not columns.isdisjoint(AFRISPEECH_PATHS)
    )  # fmt: skip
    return _said(fitting, "has the columns transcript and accent")


def _ljspeech(found: Contents) -> str | None:
    ids = ((name, _head(found.tree, name).split("|")) for name in found.named("metadata.csv"))
    fitting = (
        name for name, fields in ids
        if len(fields) in (2, 3)
        and posixpath.join(posixpath.dirname(name), "wavs", f"{fields[0]}.wav") in found.tree
    )  # fmt: skip
    return _said(fitting, "has lines id|text, with wavs/id.wav beside it")


def _librispeech(found: Contents) -> str | None:
    return _said(found.ending(".trans.txt"), "is there")


def _kaldi(found: Contents) -> str | None:
    tables = found.named("wav.scp")
    fitting = (name for name in tables if posixpath.join(posixpath.dirname(name), "text") in found.tree)
    return _said(fitting, "has a file named text beside it")


def _nemo(found: Contents) -> str | None:
    tables = found.ending(".json", ".jsonl")
    return _said((name for name in tables if is_nemo(found.tree, name)), "has lines with audio_filepath")


def _lhotse(found: Contents) -> str | None:
    parts = (
        ("cuts", "supervisions", "lhotse's cuts"),
        ("supervisions", "recording_id", "lhotse's supervisions"),
    )
    for part, key, what in parts:
        tables = (name for name in found.ending(".jsonl", ".jsonl.gz") if part in posixpath.basename(name))
        fitting = (name for name in tables if any(key in row.values for row in first_rows(found.tree, name)))
        if said := _said(fitting, f"has {what}"):
            return said
    return None


def _audiofolder(found: Contents) -> str | None:
    for name in found.named("metadata.csv", "metadata.jsonl"):
        rows = [] if name.endswith(".csv") else first_rows(found.tree, name, most=1)
        columns = rows[0].values if rows else _csv_columns(found.tree, name)
        if "file_name" in columns:
            return f"{name} has the column file_name"
    return None


def _hub(found: Contents) -> str | None:
    saved = (name for name in found.named("dataset_dict.json", "state.json") if "/" not in name)
    return _said(saved, "is of a dataset saved by `datasets`") or _said(found.ending(".parquet"), "is there")


def _manifest(found: Contents) -> str | None:
    manifests = find_manifests(found.tree, list(found.ending(".jsonl", ".json")))
    return _said(manifests, "has lines with audio and text")


def _folder(found: Contents) -> str | None:
    return f"{found.pair[0]} has {posixpath.basename(found.pair[1])} beside it" if found.pair else None


SIGNS = {
    "manifest": Sign("a manifest", "a file *.jsonl whose lines have audio and text", _manifest),
    "folder": Sign("recordings with transcripts", "recordings with transcripts, as a.wav and a.txt", _folder),
    "common_voice": Sign("Common Voice", "train.tsv or validated.tsv with client_id", _common_voice),
    "afrispeech": Sign("AfriSpeech-200", "train.csv or similar, with transcript and accent", _afrispeech),
    "fleurs": Sign("FLEURS", "train.tsv, dev.tsv or test.tsv without a header", _fleurs),
    "ljspeech": Sign("LJSpeech", "metadata.csv with lines id|text, and wavs/", _ljspeech),
    "librispeech": Sign("LibriSpeech", "*.trans.txt", _librispeech),
    "kaldi": Sign("a Kaldi data folder", "wav.scp and text", _kaldi),
    "nemo": Sign("a NeMo manifest", "*.json or *.jsonl with audio_filepath", _nemo),
    "lhotse": Sign("lhotse manifests", "*cuts*.jsonl or *supervisions*.jsonl", _lhotse),
    "audiofolder": Sign("an audio folder", "metadata.csv or metadata.jsonl with file_name", _audiofolder),
    "hub": Sign("a dataset of `datasets`", "dataset_dict.json, state.json or *.parquet", _hub),
}
"""By the name of the source."""


def _said(names: Iterable[str], what: str) -> str | None:
    """Say something of the first name, if there is one."""
    first = next(iter(names), None)
    return None if first is None else f"{printable(first)} {what}"


def _head(tree: FileTree, name: str) -> str:
    """Return the first line of a table. Empty if it is no table."""
    try:
        return next(read_lines(tree, name), (0, ""))[1]
    except UserError:
        return ""


def _csv_columns(tree: FileTree, name: str) -> list[str]:
    head = _head(tree, name)
    try:
        return next(csv.reader([head], delimiter=csv_separator(head)), [])
    except csv.Error:
        return []
