"""Measure the hours of a run and the seconds of its parts."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from utils.training.steps import Step

Part = Literal["evaluation", "save", "model", "mirror"]

STEPS_KEPT = 200  # the newest ones: a run may become faster or slower


class RunClock:
    """Counts the hours of a run over all its sessions. A session begins when the clock is made.

    Args:
        max_hours: The limit of the run. None: no limit.
    """

    def __init__(self, max_hours: float | None = None) -> None:
        self.limit = None if max_hours is None else 3600 * max_hours
        self.timed_steps: deque[tuple[Step, float]] = deque(maxlen=STEPS_KEPT)
        self.steps_seen = 0  # in this session
        self.next_review = 0.0  # when `elapsed` has this value, see `fit_into_hours`
        self._used_before = 0.0
        self._started = self._mark = time.monotonic()
        self._training_since = 0.0
        self._seconds: dict[Part, float] = {}

    @property
    def elapsed(self) -> float:
        """Return the seconds of this session, and of those before."""
        return self._used_before + time.monotonic() - self._started

    @property
    def trained(self) -> float:
        """Return the seconds since the first step of this session was done."""
        return self.elapsed - self._training_since

    def continue_from(self, seconds: float) -> None:
        """Count the seconds of earlier sessions too."""
        self._used_before = seconds

    def count_step(self, step: "Step") -> None:
        """Measure the step that has just been done.

        The first one of a session is not counted, because it also compiles kernels and allocates memory.
        """
        if self.steps_seen:
            self.timed_steps.append((step, time.monotonic() - self._mark))
        else:
            self._training_since = self.elapsed
        self.steps_seen += 1
        self._mark = time.monotonic()

    def note(self, part: Part, seconds: float, *, between_steps: bool = True) -> None:
        """Record the seconds of a part of the run.

        Args:
            part: The part.
            seconds: What it took, until now.
            between_steps: Whether training waited for it. Then they do not belong to the next step.
        """
        self._seconds[part] = seconds
        if between_steps:
            self._mark = time.monotonic()

    @contextmanager
    def timing(self, part: Part) -> Iterator[None]:
        """Measure a part of the run."""
        started = time.monotonic()
        yield
        self.note(part, time.monotonic() - started)

    def last(self, part: Part) -> float | None:
        """Return the seconds of this part when it was last measured, or None."""
        return self._seconds.get(part)
