"""Recognise out-of-memory errors and give advice. Return freed memory to the system."""

import contextlib
import ctypes
import gc
import sys
from collections.abc import Iterator

from utils.runtime.errors import UserError

MMAP_THRESHOLD_BYTES = 1 << 20

TRIM_THRESHOLD_BYTES = 1 << 23

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt

IN_TRAINING = (  # advice during training
    "Add --auto_find_batch_size, which repeats the step in smaller parts, --memory low, or "
    "--gradient_checkpointing. The result stays the same."
)

IN_EVALUATION = (
    "It happened in an evaluation, with only one clip in the batch. Use --use_peft or a smaller model."
)

TEXTS = (  # messages of torch's allocators, CTranslate2, C++, the kernel and oneDNN
    *("out of memory", "not enough memory", "can't allocate memory", "Cannot allocate memory", "bad_alloc"),
    *("could not create a memory", "could not execute a primitive", "can't start new thread"),
)


def return_freed_memory() -> None:
    """Give back to the system the memory that Python, glibc and the device allocators keep for reuse."""
    gc.collect()
    if "torch" in sys.modules:
        from accelerate.utils.memory import clear_device_cache

        clear_device_cache()
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def keep_no_freed_memory() -> None:
    """Make glibc return large blocks to the system as soon as they are freed.

    By default, glibc keeps freed blocks below a threshold for reuse, and raises this threshold to as much as
    32 MB. Tensors of varying sizes then split the kept memory into more and more small pieces.
    """
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES)


def _glibc() -> ctypes.CDLL | None:
    """Return the C library if it is glibc, else None."""
    if sys.platform != "linux":
        return None
    try:
        libc = ctypes.CDLL("libc.so.6")
        return libc if hasattr(libc, "malloc_trim") else None
    except OSError:
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Check whether an error means that an allocation failed, on the CPU or a GPU."""
    from accelerate.utils.memory import should_reduce_batch_size

    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, Exception):
        return False
    text = str(error)
    # oneDNN: with "descriptor" after these words, the error means an unsupported operation instead
    is_told = any(words in text for words in TEXTS) or text.endswith("could not create a primitive")
    return is_told or should_reduce_batch_size(error)


@contextlib.contextmanager
def explaining_out_of_memory(what_helps: str = IN_TRAINING) -> Iterator[None]:
    """Turn an out-of-memory error in the block into an error with advice.

    Args:
        what_helps: `IN_TRAINING` or `IN_EVALUATION`.

    Raises:
        UserError: The block ran out of memory.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not is_out_of_memory(error):
            raise
        found = (str(error).splitlines() or [""])[0].split("err == 0. ")[-1].rstrip(".")
        raise UserError(f"memory ran out ({found}). Saved files are kept. {what_helps}") from error
