"""The progress bar of all scripts: work done, audio seconds per second, time left."""

import contextlib
import logging
import sys
import time
import warnings
from collections.abc import Iterator
from typing import TextIO, cast

from rich import get_console
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def silence_libraries() -> None:
    """Switch off the progress bars and start-up notices of libraries."""
    import datasets
    import transformers

    transformers.utils.logging.disable_progress_bar()
    datasets.utils.logging.disable_progress_bar()
    logging.getLogger("DeepSpeed").addFilter(_is_error)  # it is imported late, and sets its own level
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # notices about CPUs and 8-bit casts
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")  # PEFT reads it
    logging.getLogger("accelerate.utils.other").setLevel(logging.ERROR)  # a notice for each tied weight


class _ForgivingStream:
    """Writes to a stream and ignores write errors.

    It flushes each line, so that a killed process leaves a complete log.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
            if "\n" in text:
                self._stream.flush()
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


@contextlib.contextmanager
def output_that_may_be_lost() -> Iterator[None]:
    """Ignore errors of standard output in the block, such as a full disk or a closed terminal."""
    with contextlib.redirect_stdout(cast(TextIO, _ForgivingStream(sys.stdout))):
        yield


class AudioProgress:
    """Counts work units and audio seconds, and shows both in one rich bar.

    If the output is not a terminal (a log file, a batch job), it prints a line every 30 seconds instead.
    """

    def __init__(self, description: str, total: float | None, console: Console, shown: bool) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console, disable=not (shown and console.is_terminal))
        self._task = self._bar.add_task(description, total=total, status="")
        self._console, self._description, self._total, self._shown = console, description, total, shown
        self._started = self._printed = time.monotonic()
        self._done = self._skipped = self._audio_seconds = self._paused_seconds = 0.0

    @property
    def audio_seconds_per_second(self) -> float:
        """Return the audio seconds per second of wall-clock time since the start, without pauses."""
        return self._audio_seconds / max(time.monotonic() - self._started - self._paused_seconds, 1e-9)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time of the block from the throughput, but not from the estimate of the time left."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._paused_seconds += time.monotonic() - began

    def set_total(self, total: float) -> None:
        """Change the number of units of the whole work."""
        self._total = total
        self._bar.update(self._task, total=total)

    def skip(self, units: float) -> None:
        """Count units that an earlier run has done. The throughput does not include them."""
        self._done += units
        self._skipped += units
        self._bar.update(self._task, completed=self._done)

    def advance(self, units: float, audio_seconds: float, status: str = "") -> None:
        """Count `units` of work and their `audio_seconds`, and show `status` beside the rate."""
        self._done += units
        self._audio_seconds += audio_seconds
        text = f"{self.audio_seconds_per_second:.1f} audio s/s" + (f"  {status}" if status else "")
        self._bar.update(self._task, advance=units, status=text)
        if self._shown and not self._console.is_terminal and time.monotonic() - self._printed > 30:
            self._printed = time.monotonic()
            rate = (self._done - self._skipped) / (self._printed - self._started)
            done, left = f"{self._done:g} done", ""
            if self._total is not None:
                done = f"{self._done / max(self._total, 1e-9):.0%}"
                left = f"  {max(self._total - self._done, 0.0) / max(rate, 1e-9) / 60:.1f} min left"
            self._console.print(f"{self._description}: {done}  {text}{left}", highlight=False)


@contextlib.contextmanager
def audio_progress(
    description: str, total: float | None, console: Console | None = None, shown: bool = True
) -> Iterator[AudioProgress]:
    """Show a progress bar during the block. With `shown=False` (for all processes but the first), only count.

    If `total` is None, as for a stream, show the number of units without a percentage or the time left.
    """
    progress = AudioProgress(description, total, console or get_console(), shown)
    with progress._bar:
        yield progress
