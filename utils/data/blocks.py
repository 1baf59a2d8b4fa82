"""Cuts the items of a source into small blocks of work. A block is finished completely or not at all.

A finished block is two files: its clips (Arrow) and its index (JSON, written last). Their names contain a
digest of the items and of all settings that decide the result. So a resumed run, a run on changed input and
the jobs of a cluster all find the blocks that are still valid, and no others.
"""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from utils.data.archives.members import ArchiveMember
from utils.data.utterance import Audio, Reject, Utterance

MOST_ITEMS = 64  # in a block: the most that a kill can lose, and the work that one process gets at a time

FORMAT = 3
"""Version of a block's files. Blocks of another version are not found, and are written again."""

MOST_BYTES = 32 << 20  # encoded audio in a block


@dataclass(frozen=True)
class Block:
    """Consecutive items. All items from one recording are in the same block."""

    number: int
    items: tuple[Utterance | Reject, ...]
    digest: str

    @property
    def name(self) -> str:
        return f"block-{self.number:06d}-{self.digest}"

    def index_in(self, folder: Path) -> Path:
        """Return the path of its index.

        The index exists only if the block is finished. The clips are beside it.
        """
        return folder / f"{self.name}.json"

    def groups(self) -> Iterator[list[Utterance | Reject]]:
        """Yield the items in groups, one for each recording, so that a recording is decoded once."""
        return _groups(self.items)


def cut_blocks(items: Iterable[Utterance | Reject], settings: str) -> Iterator[Block]:
    """Cut items into blocks. The result is the same each time.

    Args:
        items: In the same order each time.
        settings: Everything else that changes the result. It is part of the digest.
    """
    number, block, size = 0, list[Utterance | Reject](), 0
    for group in _groups(items):
        group_size = _num_bytes(group[0])
        if block and (len(block) + len(group) > MOST_ITEMS or size + group_size > MOST_BYTES):
            yield Block(number, tuple(block), _digest(block, settings))
            number, block, size = number + 1, [], 0
        block += group
        size += group_size
    if block:
        yield Block(number, tuple(block), _digest(block, settings))


def is_own_block(number: int, shard_index: int | None, num_shards: int) -> bool:
    """Check whether the block with this number belongs to this job of an array.

    Without an array, all blocks do.
    """
    return shard_index is None or number % num_shards == shard_index


def _groups(items: Iterable[Utterance | Reject]) -> Iterator[list[Utterance | Reject]]:
    return (list(group) for _, group in itertools.groupby(items, key=_recording_cut))


def _recording_cut(item: Utterance | Reject) -> object:
    """Return the recording from which an item is cut. For any other item, return a unique object."""
    is_part = isinstance(item, Utterance) and item.start is not None and not isinstance(item.audio, bytes)
    return item.audio if is_part else object()  # type: ignore[union-attr]


def _num_bytes(item: Utterance | Reject) -> int:
    if isinstance(item, Reject):
        return 0
    if isinstance(item.audio, bytes):
        return len(item.audio)
    return int(_describe_audio(item.audio)[1])


def _digest(items: Iterable[Utterance | Reject], settings: str) -> str:
    digest = hashlib.sha256(f"{FORMAT}\0{settings}".encode())
    for item in items:
        values = {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
        if isinstance(item, Utterance):
            values["audio"] = _describe_audio(item.audio)
            values["extra"] = sorted(item.extra.items())
        digest.update(json.dumps(values, default=repr, ensure_ascii=True).encode())
    return digest.hexdigest()[:16]


def _describe_audio(audio: Audio) -> tuple[str, int, int]:
    """Return (name, size, modification time) of a file or archive, or (hash, size, 0) of audio in memory."""
    if isinstance(audio, bytes):
        return hashlib.sha256(audio).hexdigest(), len(audio), 0
    if isinstance(audio, ArchiveMember):
        return f"{audio!r}", audio.size, _size_and_time(audio.archive)[1]
    return (f"{audio!r}", *_size_and_time(audio))


@lru_cache(maxsize=64)
def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except (OSError, ValueError):  # reported when the item is read
        return 0, 0
    return status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class BlockCount:
    """A finished block."""

    items: int
    audio_seconds: float  # kept by this run
    was_done: bool = False  # finished by an earlier run or another job
