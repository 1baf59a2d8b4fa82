"""Utterances brought into another order on disk, so that a corpus of any size fits in a small memory."""

import contextlib
import dataclasses
import itertools
import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from utils.data.archives.members import ArchiveMember, read_in_order
from utils.data.utterance import Reject, TimedText, Utterance


def in_archive_order(items: Iterable[Utterance | Reject]) -> Iterator[Utterance | Reject]:
    """Items as they come, but those of compressed tars last, in the order in which a tar holds them.

    These carry their bytes (`ArchiveMember.data`); the tar is read front to back once.
    """
    with contextlib.closing(temporary_database()) as database:
        database.execute("CREATE TABLE items (archive, place, utterance)")
        for item in items:
            if (
                isinstance(item, Utterance)
                and isinstance(item.audio, ArchiveMember)
                and item.audio.needs_order
            ):
                row = (
                    str(item.audio.archive).encode("utf-8", "surrogateescape"),
                    item.audio.offset,
                    _dump(item),
                )
                database.execute("INSERT INTO items VALUES (?, ?, ?)", row)
            else:
                yield item
        rows = database.execute("SELECT archive, utterance FROM items ORDER BY archive, place, rowid")
        for _, group in itertools.groupby(rows, key=lambda row: row[0]):
            yield from _with_data(_load(text) for _, text in group)


def _with_data(utterances: Iterable[Utterance]) -> Iterator[Utterance]:
    """Utterances of one tar, sorted by place, with the bytes of their audio; each member is read once."""
    first, second = itertools.tee(utterances)  # never more than one recording apart
    places = (key for key, _ in itertools.groupby(first, key=_member_of))
    read = read_in_order(places)
    for _, group in itertools.groupby(second, key=_member_of):
        audio = next(read)
        yield from (dataclasses.replace(utterance, audio=audio) for utterance in group)


def _member_of(utterance: Utterance) -> ArchiveMember:
    assert isinstance(utterance.audio, ArchiveMember)
    return utterance.audio


def recordings_together(items: Iterable[Utterance | Reject]) -> Iterator[Utterance | Reject]:
    """Items with those cut from one recording at the place of its first, so that it is decoded once.

    Rejects and whole recordings come first.
    """
    with contextlib.closing(temporary_database()) as database:
        database.execute("CREATE TABLE items (recording, utterance)")
        for item in items:
            if isinstance(item, Utterance) and _may_move(item):
                row = (json.dumps(_dump_audio(item.audio)), _dump(item))
                database.execute("INSERT INTO items VALUES (?, ?)", row)
            else:
                yield item
        order = "MIN(rowid) OVER (PARTITION BY recording), rowid"
        for (text,) in database.execute(f"SELECT utterance FROM items ORDER BY {order}"):
            yield _load(text)


def _may_move(utterance: Utterance) -> bool:
    """Whether it is a part of a recording; those of compressed tars come in order already."""
    audio = utterance.audio
    has_bytes = isinstance(audio, bytes) or (isinstance(audio, ArchiveMember) and audio.data is not None)
    return utterance.start is not None and not has_bytes


def temporary_database() -> sqlite3.Connection:
    """An empty database in a file that nobody else sees and that goes when it is closed."""
    return sqlite3.connect("", check_same_thread=False)


def _dump(utterance: Utterance) -> str:
    """Everything an utterance says as ASCII; halves of surrogate pairs in a path survive as escapes."""
    values = {field.name: getattr(utterance, field.name) for field in dataclasses.fields(utterance)}
    values["audio"] = _dump_audio(utterance.audio)
    values["segments"] = [dataclasses.astuple(segment) for segment in utterance.segments]
    return json.dumps(values | {"extra": dict(utterance.extra)})


def _dump_audio(audio: object) -> list[object]:
    if isinstance(audio, ArchiveMember):
        path, *rest = dataclasses.astuple(dataclasses.replace(audio, data=None))
        return [str(path), *rest]
    return [str(audio)]


def _load(text: str) -> Utterance:
    values = json.loads(text)
    path, *rest = values.pop("audio")
    segments = tuple(TimedText(*segment) for segment in values.pop("segments"))
    audio = ArchiveMember(Path(path), *rest) if rest else Path(path)
    return Utterance(audio=audio, segments=segments, **values)
