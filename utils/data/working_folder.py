"""The hidden folder in which a run keeps its finished blocks until they are put together."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from utils.runtime.errors import UserError, WriteError
from utils.runtime.locking import sole_holder


@contextlib.contextmanager
def working_folder(output_dir: Path, shard_index: int | None) -> Iterator[Path]:
    """The hidden folder of finished blocks beside `output_dir`, for one run at a time.

    The jobs of an array share it, each with blocks of its own. It stays when a run is interrupted, and goes
    when it holds nothing that would help the next one; no job of an array takes it from the others.

    Raises:
        UserError: Another run is at work there.
    """
    folder = output_dir.with_name(f".{output_dir.name}.blocks")
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / ("lock" if shard_index is None else f"lock-{shard_index}")
    refusal = f"{folder}: another preprocess.py is at work on this --output_dir. Wait for it, or stop it."
    with contextlib.ExitStack() as once_unlocked, sole_holder(lock, refusal):
        try:
            yield folder
        finally:
            if shard_index is None and not any(folder.glob("*.json")):
                once_unlocked.callback(shutil.rmtree, folder, ignore_errors=True)


@contextlib.contextmanager
def forgetting_blocks(blocks_dir: Path) -> Iterator[None]:
    """Delete the blocks when they have been put together, or when it turns out that none is of use.

    They stay where the dataset could not be written: room can be made.
    """
    useless: UserError | None = None
    try:
        yield
    except WriteError:
        raise
    except UserError as error:
        useless = error
    for index in blocks_dir.glob("*.json"):
        index.unlink()
    if useless is not None:
        raise useless
