"""Workers that read audio: they outlive the signals meant for the run, and are replaced when they die."""

import atexit
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from functools import cache
from typing import TypeVar

from utils.runtime.errors import UserError

Item = TypeVar("Item")


def outlive_signals(_worker: int) -> None:
    """A `worker_init_fn`: signals for the whole group of processes leave the workers to finish the step.

    They still end with their process, which tells them by a queue, and whose death they notice in seconds.
    That process calls `end_workers_at_exit`.
    """
    for name in ("SIGTERM", "SIGUSR1", "SIGINT"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


@cache
def end_workers_at_exit() -> None:
    """Kill the workers that are left when this process ends.

    The traceback of an error keeps their loader alive. Python then would send them SIGTERM, and wait.
    """
    atexit.register(_kill_workers)


def _kill_workers() -> None:
    _silence_torch()
    for worker in multiprocessing.active_children():
        worker.kill()


def replacing_dead_workers(read: Callable[[int], Iterator[Item]], first: int) -> Iterator[Item]:
    """Yield what `read(first)` yields, one item to a step; where a worker dies, go on with new workers.

    Args:
        read: Gives the items from a step on; equal for a step wherever it starts.
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
                    f"a worker that reads audio died twice at step {step + 1} ({error}). Most likely memory "
                    "ran out: the system's, or /dev/shm in a container. The last checkpoint is kept. Use "
                    "fewer workers or none (--dataloader_num_workers 0), or give the job more memory, then "
                    "run the same command again."
                ) from error
            died_at = step
            print(f"step {step + 1}: a worker that reads audio died ({error}); going on with new ones.")


class DeadWorkerError(Exception):
    """A worker process has ended before its work; the text is torch's."""


def _without_interruptions(items: Iterator[Item]) -> Iterator[Item]:
    """Tell a dead worker by `DeadWorkerError`, and only here, where the next item is asked for.

    torch raises it from a handler of SIGCHLD as well, at whatever line runs: between two lines of an update.
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
    """A worker that dies while its batch is handed over breaks the connection, before torch looks for it.

    What a living worker raises is passed on by torch as its own kind, with "Caught ..." in front.
    """
    if isinstance(error, RuntimeError):
        return str(error).startswith(("DataLoader worker", "Pin memory thread exited"))
    return not str(error).startswith("Caught ")


def _silence_torch() -> None:
    """Take torch's SIGCHLD handler away, which every new loader may set again."""
    if hasattr(signal, "SIGCHLD"):
        handler = signal.getsignal(signal.SIGCHLD)
        if getattr(handler, "__module__", "") == "torch.utils.data._utils.signal_handling":
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
