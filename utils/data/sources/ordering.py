"""Sorts utterances on disk, so that a corpus of any size needs little memory."""

import contextlib
import dataclasses
import itertools
import json
import pickle
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter

from utils.data.archives.members import ArchiveMember, read_archived
from utils.data.utterance import Reject, Utterance


def in_archive_order(items: Iterable[Utterance | Reject]) -> Iterator[Utterance | Reject]:
    """Yield the items in order. But items in compressed tars come last, in the order of the tar.

    These items carry their bytes (`ArchiveMember.data`). The tar is read once, from front to back.
    """
    with contextlib.closing(temporary_database()) as database:
        yield from _set_aside(database, items, _needs_order)
        utterances = _ordered(database, "archive, place, rowid")
        for _, group in itertools.groupby(utterances, key=attrgetter("audio.archive")):
            yield from _with_data(group)


def _needs_order(utterance: Utterance) -> bool:
    return isinstance(utterance.audio, ArchiveMember) and utterance.audio.needs_order


def _set_aside(
    database: sqlite3.Connection, items: Iterable[Utterance | Reject], moves: Callable[[Utterance], bool]
) -> Iterator[Utterance | Reject]:
    """Yield all items except the utterances to move, which go into a table."""
    database.execute("CREATE TABLE items (audio, archive, place, utterance)")
    for item in items:
        if isinstance(item, Reject) or not moves(item):
            yield item
            continue
        archive, place = None, 0
        if isinstance(item.audio, ArchiveMember):
            archive, place = json.dumps(str(item.audio.archive)), item.audio.offset
        # only this process can open the table, so it may safely hold pickles
        row = (repr(item.audio), archive, place, pickle.dumps(item))
        database.execute("INSERT INTO items VALUES (?, ?, ?, ?)", row)


def _ordered(database: sqlite3.Connection, order: str) -> Iterator[Utterance]:
    for (pickled,) in database.execute(f"SELECT utterance FROM items ORDER BY {order}"):
        yield pickle.loads(pickled)


def _with_data(utterances: Iterable[Utterance]) -> Iterator[Utterance]:
    """Add the bytes of their audio to utterances of one tar, sorted by their position in it.

    Each member is read once.
    """
    first, second = itertools.tee(utterances)  # at most one recording apart
    read = read_archived(member for member, _ in itertools.groupby(first, key=attrgetter("audio")))
    for audio, (_, group) in zip(read, itertools.groupby(second, key=attrgetter("audio")), strict=True):
        yield from (dataclasses.replace(utterance, audio=audio) for utterance in group)


def recordings_together(items: Iterable[Utterance | Reject]) -> Iterator[Utterance | Reject]:
    """Yield the items of each recording together, in place of the first of them, so that it is decoded once.

    Rejects and whole recordings come first.
    """
    with contextlib.closing(temporary_database()) as database:
        yield from _set_aside(database, items, _may_move)
        yield from _ordered(database, "MIN(rowid) OVER (PARTITION BY audio), rowid")


def _may_move(utterance: Utterance) -> bool:
    """Check whether an item is part of a recording and may be moved.

    Parts from compressed tars are already in order.
    """
    audio = utterance.audio
    has_bytes = isinstance(audio, bytes) or (isinstance(audio, ArchiveMember) and audio.data is not None)
    return utterance.start is not None and not has_bytes


def temporary_database() -> sqlite3.Connection:
    """Open an empty database in a private file that is deleted when it is closed."""
    return sqlite3.connect("", check_same_thread=False)
