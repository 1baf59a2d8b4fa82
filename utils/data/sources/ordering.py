"""Utterances brought into another order on disk, so that a corpus of any size fits in a small memory."""

import contextlib
import dataclasses
import itertools
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from utils.data.archives.members import ArchiveMember, read_archived
from utils.data.utterance import Reject, TimedText, Utterance


def in_archive_order(items: Iterable[Utterance | Reject]) -> Iterator[Utterance | Reject]:
    """Items as they come, but those of compressed tars last, in the order in which a tar holds them.

    These carry their bytes (`ArchiveMember.data`); the tar is read front to back once.
    """
    with contextlib.closing(temporary_database()) as database:
        yield from _set_aside(database, items, _needs_order)
        utterances = _ordered(database, "archive, place, rowid")
        for _, group in itertools.groupby(utterances, key=lambda utterance: _member_of(utterance).archive):
            yield from _with_data(group)


def _needs_order(utterance: Utterance) -> bool:
    return isinstance(utterance.audio, ArchiveMember) and utterance.audio.needs_order


def _set_aside(
    database: sqlite3.Connection, items: Iterable[Utterance | Reject], moves: Callable[[Utterance], bool]
) -> Iterator[Utterance | Reject]:
    """Pass items on but the utterances that are to move, which go into a table."""
    database.execute("CREATE TABLE items (audio, archive, place, utterance)")
    for item in items:
        if isinstance(item, Reject) or not moves(item):
            yield item
            continue
        audio = _dump_audio(item.audio)
        place = item.audio.offset if isinstance(item.audio, ArchiveMember) else 0
        row = (json.dumps(audio), json.dumps(audio[0]), place, _dump(item))
        database.execute("INSERT INTO items VALUES (?, ?, ?, ?)", row)


def _ordered(database: sqlite3.Connection, order: str) -> Iterator[Utterance]:
    for (text,) in database.execute(f"SELECT utterance FROM items ORDER BY {order}"):
        yield _load(text)


def _with_data(utterances: Iterable[Utterance]) -> Iterator[Utterance]:
    """Utterances of one tar, sorted by place, with the bytes of their audio; each member is read once."""
    first, second = itertools.tee(utterances)  # never more than one recording apart
    places = (key for key, _ in itertools.groupby(first, key=_member_of))
    read = read_archived(places)
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
        yield from _set_aside(database, items, _may_move)
        yield from _ordered(database, "MIN(rowid) OVER (PARTITION BY audio), rowid")


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
