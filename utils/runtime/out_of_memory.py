"""Memory that ran out: recognised whatever ran out, and told with what to do."""

import contextlib
from collections.abc import Iterator

from utils.runtime.errors import UserError

IN_TRAINING = (  # what helps there
    "Give --auto_find_batch_size, which does the step again in smaller parts, --memory low, or "
    "--gradient_checkpointing"
)

IN_EVALUATION = "It was in decoding: give a smaller --per_device_eval_batch_size"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on the CPU or a GPU.

    The texts are those that Accelerate's `find_executable_batch_size` knows, and C++'s own.
    """
    from accelerate.utils.memory import should_reduce_batch_size

    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, Exception):
        return False
    text = str(error)
    if text.endswith("could not create a primitive"):  # not one whose descriptor nothing implements
        return True
    return should_reduce_batch_size(error) or any(
        words in text
        for words in (
            *("bad_alloc", "Cannot allocate memory", "not enough memory", "could not create a memory"),
            *("could not execute a primitive", "can't start new thread"),
        )
    )


@contextlib.contextmanager
def explaining_out_of_memory(what_helps: str = IN_TRAINING) -> Iterator[None]:
    """Say what helps where the block runs out of memory.

    Args:
        what_helps: `IN_TRAINING` or `IN_EVALUATION`.

    Raises:
        UserError: It did; what was saved before is kept.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not is_out_of_memory(error):
            raise
        found = (str(error).splitlines() or [""])[0].split("err == 0. ")[-1].rstrip(".")
        raise UserError(
            f"memory ran out ({found}). What was saved is kept. {what_helps}; the result stays the same."
        ) from error
