"""Processes that share work which needs no gradients, as `accelerate launch` starts them."""

import contextlib
import datetime
import os
from collections.abc import Iterator

from accelerate import PartialState
from accelerate.utils import gather_object

from utils.runtime.devices import pick_device
from utils.runtime.errors import UserError, WriteError
from utils.runtime.files import write_failure


def start_processes() -> PartialState:
    """This process's place among those that the launcher started; alone where there is no launcher.

    Raises:
        UserError: Processes were started that do not know of each other.
    """
    # One may decode much longer than another; the usual limit would end both after 10 minutes.
    state = PartialState(cpu=pick_device().type == "cpu", timeout=datetime.timedelta(hours=4))
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != state.num_processes:
        raise UserError(
            f"{started} processes were started, but each sees {state.num_processes}: each would score "
            "everything. Use a configuration of accelerate_configs/."
        )
    return state


@contextlib.contextmanager
def failing_together() -> Iterator[None]:
    """Every process writes something in the block; where one fails to, all raise at its end.

    Raises:
        WriteError: The disk refused on some process; the text is that process's.
    """
    fault = ""
    try:
        yield
    except Exception as error:
        fault = write_failure(error)
        if not fault:
            raise
    faults = [found for found in gather_object([fault]) if found]
    if faults:
        raise WriteError(faults[0])
