"""Processes that read audio (workers). They ignore stop signals, and are replaced if they die."""

import atexit
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from functools import cache
from typing import TypeVar

from utils.runtime.errors import UserError

Item = TypeVar("Item")


def outlive_signals(_worker: int) -> None:
    """Ignore stop signals in a worker, so that it finishes the step. This is a `worker_init_fn`.

    Workers still end with the main process. It tells them to end through a queue. If it dies, they notice
    that within seconds. The main process must call `end_workers_at_exit`.
    """
    for name in ("SIGTERM", "SIGUSR1", "SIGINT"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


@cache
def end_workers_at_exit() -> None:
    """Kill the remaining workers when this process ends.

    After an error, the traceback keeps their loader alive. Python would then send them SIGTERM, which they
    ignore, and would wait for them.
    """
    atexit.register(_kill_workers)


def _kill_workers() -> None:
    _silence_torch()
    for worker in multiprocessing.active_children():
        worker.kill()


def replacing_dead_workers(read: Callable[[int], Iterator[Item]], first: int) -> Iterator[Item]:
    """Yield the items of `read(first)`, one for each step. If a worker dies, start new workers.

    Args:
        read: Function that yields the items from a given step on. Each step must have the same item,
            whichever step is the first.
        first: Step of the first item.

    Raises:
        UserError: Workers died twice at the same step.
    """
    step, died_at = first, None
    while True:
        items = read(step)
        try:
            for item in _without_interruptions(items):
                yield item
                step += 1
            return
        except DeadWorkerError as error:
            if died_at == step:
                raise UserError(
                    f"a worker that reads audio died twice at step {step + 1} ({error}). The memory of the "
                    "system, or of /dev/shm in a container, was probably full. The last checkpoint is kept. "
                    "Use fewer workers or none (--dataloader_num_workers 0), or give the job more memory. "
                    "Then run the same command again."
                ) from error
            died_at = step
            print(f"step {step + 1}: a worker that reads audio died ({error}). Starting new workers.")


class DeadWorkerError(Exception):
    """A worker process died. The message is that of torch."""


def _without_interruptions(items: Iterator[Item]) -> Iterator[Item]:
    """Raise `DeadWorkerError` if a worker dies, but only when the next item is requested.

    torch also raises an error in its SIGCHLD handler. This may happen at any line of the code, even in the
    middle of an update.
    """
    while True:
        try:
            item = next(items)
        except StopIteration:
            return
        except (RuntimeError, ConnectionError, EOFError) as error:
            if not _tells_of_a_dead_worker(error):
                raise
            raise DeadWorkerError(str(error).split(". ")[0]) from error
        finally:
            _silence_torch()
        yield item


def _tells_of_a_dead_worker(error: Exception) -> bool:
    """Check whether an error means that a worker died.

    If a worker dies while it sends a batch, the connection breaks before torch notices the death. If a living
    worker raises an error, torch raises it again with "Caught ..." in front.
    """
    if isinstance(error, RuntimeError):
        return str(error).startswith(("DataLoader worker", "Pin memory thread exited"))
    return not str(error).startswith("Caught ")


def _silence_torch() -> None:
    """Remove torch's SIGCHLD handler. Each new loader may set it again."""
    if hasattr(signal, "SIGCHLD"):
        handler = signal.getsignal(signal.SIGCHLD)
        if getattr(handler, "__module__", "") == "torch.utils.data._utils.signal_handling":
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
