"""Memory that ran out: recognised whatever ran out, and told with what to do."""

import contextlib
from collections.abc import Iterator

from utils.runtime.errors import UserError

IN_TRAINING = (  # what helps there
    "Give --auto_find_batch_size, which does the step again in smaller parts, --memory low, or "
    "--gradient_checkpointing; the result stays the same."
)

IN_EVALUATION = (
    "It was in an evaluation, which decodes a batch in halves down to one clip. Give --use_peft or a smaller "
    "model."
)

TEXTS = (  # of torch's allocators, CTranslate2, C++, the kernel and oneDNN
    *("out of memory", "not enough memory", "can't allocate memory", "Cannot allocate memory", "bad_alloc"),
    *("could not create a memory", "could not execute a primitive", "can't start new thread"),
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on the CPU or a GPU."""
    from accelerate.utils.memory import should_reduce_batch_size

    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, Exception):
        return False
    text = str(error)
    # oneDNN's of a whole text: one with a "descriptor" behind it is of what it cannot compute
    is_told = any(words in text for words in TEXTS) or text.endswith("could not create a primitive")
    return is_told or should_reduce_batch_size(error)


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
        raise UserError(f"memory ran out ({found}). What was saved is kept. {what_helps}") from error
