"""Encodes blocks of items in several processes."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from utils.data.blocks import Block, BlockCount
from utils.data.clips.block_files import clips_file
from utils.data.clips.encoding import Aligner, ClipSettings, encode_block
from utils.runtime.errors import UserError

WAITING_PER_WORKER = 2  # blocks queued per worker: enough to keep it busy, few enough for little memory


def encode_blocks(
    blocks: Iterable[Block],
    folder: Path,
    settings: ClipSettings,
    *,
    num_proc: int,
    align: Aligner | None = None,
) -> Iterator[BlockCount]:
    """Encode the blocks, with `num_proc` processes, and yield their counts in order.

    Args:
        blocks: Blocks whose files are already in `folder` are not encoded again.
        folder: Folder for the two files of each block.
        num_proc: Number of worker processes. With 1, or with `align`, this process does the work itself. The
            result is the same.
        align: See `Aligner`. It holds a model, which is not sent to workers.

    Raises:
        UserError: A worker died, for example because the system ran out of memory.
    """
    if num_proc == 1 or align is not None:
        yield from (
            _count_of(block, folder) or encode_block(block, folder, settings, align) for block in blocks
        )
        return
    # spawn: a fork would copy locks of running threads, and macOS has no safe fork
    pool = ProcessPoolExecutor(num_proc, multiprocessing.get_context("spawn"), initializer=_start_worker)
    waiting: deque[BlockCount | Future[BlockCount]] = deque()
    try:
        for block in blocks:
            waiting.append(_count_of(block, folder) or pool.submit(encode_block, block, folder, settings))
            while len(waiting) > num_proc * WAITING_PER_WORKER:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    except BrokenProcessPool:
        raise UserError(
            "the system ended a process that decodes audio, probably because memory was full. Run again with "
            "a smaller --num_proc. If that does not help, use shorter recordings. Finished blocks are kept."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _count_of(block: Block, folder: Path) -> BlockCount | None:
    index = block.index_in(folder)
    is_done = index.is_file() and clips_file(index).is_file()
    return BlockCount(len(block.items), 0.0, was_done=True) if is_done else None


def _result(waiting: "BlockCount | Future[BlockCount]") -> BlockCount:
    return waiting if isinstance(waiting, BlockCount) else waiting.result()


def _start_worker() -> None:
    """Ignore Ctrl-C, because the parent process reacts to it.

    End when the parent has ended, even if it was killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent) -> None:
    parent.join()
    os._exit(1)
