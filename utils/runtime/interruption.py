"""Stop on a signal: remember the signal, finish the current step, and let a later run continue."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from utils.runtime.files import write_json

CONTINUE = 75  # exit code: EX_TEMPFAIL of BSD's sysexits.h, "not an error, try again later"

MARKER = "interrupted.json"  # in the run folder, because launchers turn every exit code but 0 into 1

SIGNALS = ("SIGTERM", "SIGUSR1", "SIGINT")  # Slurm's limit and scancel, Slurm's warning, Ctrl-C

SECOND_CTRL_C = 1.0  # seconds: after Ctrl-C a process gets SIGINT from the terminal and from its launcher


class StopRequest:
    """Holds whether this process was asked to stop, and the reason."""

    def __init__(self) -> None:
        self._signal: str | None = None
        self._first_ctrl_c: float | None = None
        launched = "ACCELERATE_MIXED_PRECISION" in os.environ  # set by `accelerate launch`
        self._launcher = os.getppid() if launched else None

    @property
    def reason(self) -> str | None:
        """Return why the run must stop: the name of the signal, or that the launcher has ended.

        None if it need not.
        """
        if self._signal is None and self._launcher is not None and os.getppid() != self._launcher:
            return "the launcher has ended"
        return self._signal

    def remember(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal. A second Ctrl-C ends the run at once."""
        now = time.monotonic()
        if number == signal.SIGINT:
            if self._first_ctrl_c is not None and now - self._first_ctrl_c > SECOND_CTRL_C:
                raise KeyboardInterrupt
            self._first_ctrl_c = self._first_ctrl_c or now
        if self._signal is None:
            self._signal = signal.Signals(number).name
            if os.environ.get("RANK", "0") == "0":
                text = f"\n{self._signal}: the run stops after the current step is finished and saved.\n"
                with contextlib.suppress(OSError):
                    os.write(2, text.encode())  # print is not safe in a signal handler


@contextlib.contextmanager
def remembering_signals() -> Iterator[StopRequest]:
    """Record SIGTERM, SIGUSR1 and SIGINT in a `StopRequest` during the block."""
    request = StopRequest()
    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]  # no SIGUSR1 on Windows
    before = {number: signal.signal(number, request.remember) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def note_interruption(output_dir: Path, step: int, reason: str) -> None:
    """Write a marker file. It tells the script that started the launcher that this run can be continued."""
    write_json(output_dir / MARKER, {"step": step, "reason": reason, "exit_code": CONTINUE})


def forget_interruption(output_dir: Path) -> None:
    """Delete the marker file of an earlier run."""
    (output_dir / MARKER).unlink(missing_ok=True)
