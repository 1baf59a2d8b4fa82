"""Blocks of work: the items of a source are cut into small blocks, and each is done whole or not at all.

A finished block is two files, its clips (Arrow) and its index (JSON, written last). Their names hold a digest
of the items and of all that decides the result, so that a run that was killed, a run on changed input, and
the jobs of a cluster find exactly the blocks that are still good.
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

MOST_ITEMS = 64  # of a block: what a kill can lose, and what one process is handed at a time

FORMAT = 3
"""Of a block's files; those of another one are not found, and written anew."""

MOST_BYTES = 32 << 20  # of encoded audio in a block


@dataclass(frozen=True)
class Block:
    """Neighbouring items; all that are cut from one recording are in one block."""

    number: int
    items: tuple[Utterance | Reject, ...]
    digest: str

    @property
    def name(self) -> str:
        return f"block-{self.number:06d}-{self.digest}"

    def index_in(self, folder: Path) -> Path:
        """Its index below a folder of blocks, there only when the block is done; the clips lie beside it."""
        return folder / f"{self.name}.json"

    def groups(self) -> Iterator[list[Utterance | Reject]]:
        """The items, those of one recording together, so that it is decoded once."""
        return _groups(self.items)


def cut_blocks(items: Iterable[Utterance | Reject], settings: str) -> Iterator[Block]:
    """Cut items into blocks, the same ones each time.

    Args:
        items: In an order that is the same each time.
        settings: Everything besides the items that decides what becomes of them; part of the digest.
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
    """Whether a job of an array does the block of this number; None does all."""
    return shard_index is None or number % num_shards == shard_index


def _groups(items: Iterable[Utterance | Reject]) -> Iterator[list[Utterance | Reject]]:
    return (list(group) for _, group in itertools.groupby(items, key=_recording_cut))


def _recording_cut(item: Utterance | Reject) -> object:
    """The recording that an item is cut from; what is no part of one is like nothing else."""
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
    """(name, bytes, time of change) of a file or archive; of bytes their hash and number."""
    if isinstance(audio, bytes):
        return hashlib.sha256(audio).hexdigest(), len(audio), 0
    if isinstance(audio, ArchiveMember):
        return f"{audio!r}", audio.size, _size_and_time(audio.archive)[1]
    return (f"{audio!r}", *_size_and_time(audio))


@lru_cache(maxsize=64)
def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except (OSError, ValueError):  # told when the item's turn comes
        return 0, 0
    return status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class BlockCount:
    """A block that is done."""

    items: int
    audio_seconds: float  # kept by this run
    was_done: bool = False  # by an earlier run, or another job
