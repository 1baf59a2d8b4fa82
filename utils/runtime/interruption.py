"""Being told to stop: a signal is remembered, the running step finished, and the run left to be continued."""

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

SECOND_CTRL_C = 1.0  # seconds: a launcher passes Ctrl-C on to a process that the terminal has told already


class StopRequest:
    """Whether this process was asked to stop, and by what."""

    def __init__(self) -> None:
        self._signal: str | None = None
        self._first_ctrl_c: float | None = None
        launched = "ACCELERATE_MIXED_PRECISION" in os.environ  # set by `accelerate launch`
        self._launcher = os.getppid() if launched else None

    @property
    def reason(self) -> str | None:
        """The signal's name, or that the launcher is gone, which is told by no signal; None: go on."""
        if self._signal is None and self._launcher is not None and os.getppid() != self._launcher:
            return "the launcher has ended"
        return self._signal

    def remember(self, number: int, _frame: FrameType | None) -> None:
        """The signal handler. A second Ctrl-C ends the run at once."""
        now = time.monotonic()
        if number == signal.SIGINT:
            if self._first_ctrl_c is not None and now - self._first_ctrl_c > SECOND_CTRL_C:
                raise KeyboardInterrupt
            self._first_ctrl_c = self._first_ctrl_c or now
        if self._signal is None:
            self._signal = signal.Signals(number).name
            if os.environ.get("RANK", "0") == "0":
                text = f"\n{self._signal}: the running step is finished and saved, then the run stops.\n"
                with contextlib.suppress(OSError):
                    os.write(2, text.encode())  # print is not safe in a signal handler


@contextlib.contextmanager
def remembering_signals() -> Iterator[StopRequest]:
    """Collect SIGTERM, SIGUSR1 and SIGINT in a `StopRequest` while the block lasts."""
    request = StopRequest()
    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]  # no SIGUSR1 on Windows
    before = {number: signal.signal(number, request.remember) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def note_interruption(output_dir: Path, step: int, reason: str) -> None:
    """Leave word for a script that waits for the launcher: this run is to be continued."""
    write_json(output_dir / MARKER, {"step": step, "reason": reason, "exit_code": CONTINUE})


def forget_interruption(output_dir: Path) -> None:
    """A run that begins takes away the word of the one before."""
    (output_dir / MARKER).unlink(missing_ok=True)
