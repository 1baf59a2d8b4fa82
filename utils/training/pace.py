"""The number of steps of a run, its place in the schedule of the learning rate, and how many steps fit."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ScheduleChange:
    """A change of the number of steps.

    What is left of the schedule at `step` is spread over the steps up to `total_steps`. So the learning rate
    makes no jump, and reaches its end at the last step.
    """

    step: int
    progress: float  # share of the schedule that is behind at `step`
    total_steps: int

    def progress_at(self, step: int) -> float:
        """Return the share of the schedule that is behind at a later step."""
        if step >= self.total_steps:
            return 1.0
        return self.progress + (1 - self.progress) * (step - self.step) / (self.total_steps - self.step)


class Pace:
    """The number of steps of a run, and its place in the schedule. `--max_hours` may change both.

    Args:
        most_steps: The number of steps without a limit of time.
    """

    def __init__(self, most_steps: int) -> None:
        self.most_steps = most_steps
        self.last_change: ScheduleChange | None = None

    @property
    def total_steps(self) -> int:
        """Return the number of the last step."""
        return self.last_change.total_steps if self.last_change else self.most_steps

    def position(self, step: int) -> float:
        """Return the place in a schedule of `most_steps` steps that a step has."""
        return self.most_steps * self.last_change.progress_at(step) if self.last_change else step

    def change(self, step: int, total_steps: int) -> ScheduleChange:
        """Let the run end at `total_steps`. `step` is the last one that is done."""
        self.last_change = ScheduleChange(step, self.position(step) / self.most_steps, total_steps)
        return self.last_change

    def follow(self, schedule: Callable[[float], float], step: int) -> float:
        """Return the factor of the learning rate at a step. `schedule` gives it for a run of `most_steps`."""
        return schedule(self.position(step))


@dataclass(frozen=True)
class Costs:
    """The seconds that the parts of a run take, and how often it does them."""

    step: float
    evaluation: float
    save: float
    closing: float  # after the last step, its evaluation and its checkpoint
    eval_steps: int  # 0: never
    save_steps: int

    def seconds(self, done: int, total_steps: int) -> float:
        """Return the seconds from the end of step `done` to the end of the run.

        They include the evaluation and the checkpoint of step `done`, if it has them.
        """
        evaluations = _times(done, total_steps, self.eval_steps)
        saves = _times(done, total_steps, self.save_steps)
        training = (total_steps - done) * self.step
        return training + evaluations * self.evaluation + saves * self.save + self.closing

    def steps_within(self, seconds: float, done: int, most_steps: int) -> int:
        """Return the largest number of steps, from `done` to `most_steps`, whose end is within `seconds`.

        Return `done` if not even that is.
        """
        numbers = range(done, most_steps + 1)
        return max(done, done - 1 + bisect_right(numbers, seconds, key=lambda n: self.seconds(done, n)))


def _times(done: int, total_steps: int, interval: int) -> int:
    """Count the steps from `done` to `total_steps` that are multiples of `interval`, or the last one."""
    if interval == 0:
        return 0
    multiples = total_steps // interval - (done - 1) // interval
    return multiples + (total_steps % interval != 0)
