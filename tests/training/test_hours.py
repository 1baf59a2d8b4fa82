"""Runs of hours in a made-up time: they end within their limit, whatever the speed does."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from utils.data.length_batches import Example
from utils.training import clock as clock_module
from utils.training.clock import RunClock
from utils.training.estimates import Disk
from utils.training.hours import choose_total_steps, measure_costs
from utils.training.pace import Pace
from utils.training.steps import Step

HOUR = 3600.0
STEP = Step(0, 0, (Example((0,), 5.0, 5),), 5.0, 5.0)


class Time:
    """In place of the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch) -> Time:
    time = Time()
    monkeypatch.setattr(clock_module, "time", time)
    return time


def build_run(max_hours: float, most_steps: int, eval_steps: int = 100, save_steps: int = 100):
    args = SimpleNamespace(eval_steps=eval_steps, save_steps=save_steps, average_checkpoints=0)
    args.interpolation_alphas = args.guard_datasets = []
    plan = SimpleNamespace(count_steps=lambda _: 1, steps=lambda *_: [STEP])
    return SimpleNamespace(
        args=args,
        clock=RunClock(max_hours),
        pace=Pace(most_steps),
        data=SimpleNamespace(plan=plan, validation=range(500)),
        disk=SimpleNamespace(sizes=Disk(3 * 10**9, 10**9, 0, 0)),
        state=SimpleNamespace(step=0),
    )


def live(run, time: Time, seconds_of: Callable[[int], float], evaluation: float, save: float) -> list[int]:
    """Do what train.py does, in a time that only this function moves; returns the changes."""
    changes = []
    time.now += 30  # loading
    while run.state.step < run.pace.total_steps:
        run.state.step += 1
        time.now += seconds_of(run.state.step)
        run.clock.count_step(STEP)
        run.total_steps = run.pace.total_steps
        if run.clock.steps_seen > 1 and run.clock.elapsed >= run.clock.next_review:
            chosen = choose_total_steps(run)
            if chosen != run.pace.total_steps:
                run.pace.change(run.state.step, chosen)
                changes.append(chosen)
        is_last = run.state.step == run.pace.total_steps
        for part, interval, cost in (("save", 100, save), ("evaluation", 100, evaluation)):
            if run.state.step % interval == 0 or is_last:
                time.now += cost
                run.clock.note(part, cost)
    time.now += save / 3  # final/
    return changes


@pytest.mark.parametrize(
    ("seconds_of", "evaluation", "save"),
    [
        (lambda step: 1.5, 60, 10),
        (lambda step: 40 if step == 1 else 0.4, 5, 1),  # kernels are compiled in the first step
        (lambda step: 1.0 + (step % 7) / 7, 300, 60),
        (lambda step: 1.0 if step < 3000 else 3.0, 30, 10),  # the machine gets slow
        (lambda step: 3.0 if step < 500 else 1.0, 30, 10),  # or fast
        (lambda step: 200.0, 200, 50),  # few steps
    ],
    ids=["steady", "slow start", "uneven", "slower", "faster", "few"],
)
def test_a_run_ends_within_its_limit_and_not_long_before(time, seconds_of, evaluation, save):
    run = build_run(3.5, most_steps=10**6)
    changes = live(run, time, seconds_of, evaluation, save)
    assert 0.95 * 3.5 * HOUR <= run.clock.elapsed <= 3.5 * HOUR
    assert run.pace.position(run.state.step) == 10**6  # the schedule is at its end
    assert len(changes) <= 10


def test_a_run_that_is_short_enough_is_not_changed(time):
    run = build_run(3.5, most_steps=400)
    assert live(run, time, lambda step: 1.5, 60, 10) == [] and run.state.step == 400


def test_the_hours_of_earlier_sessions_count(time):
    run = build_run(2.0, most_steps=10**6)
    run.clock.continue_from(1.5 * HOUR)
    live(run, time, lambda step: 1.0, 20, 5)
    assert 0.95 * 2 * HOUR <= run.clock.elapsed <= 2 * HOUR
    assert time.now - 1000 <= 0.5 * HOUR


def test_a_run_whose_time_is_over_ends_at_its_next_step(time):
    run = build_run(1.0, most_steps=1000)
    run.clock.continue_from(HOUR)
    live(run, time, lambda step: 1.0, 20, 5)
    assert run.state.step == 2


def test_a_run_at_the_end_of_its_schedule_gets_no_steps_without_a_learning_rate(time):
    run = build_run(1.0, most_steps=1000)
    for _ in range(3):
        run.clock.count_step(STEP)
        time.now += 1.0
    run.pace.change(2, 3)
    run.total_steps = 3
    run.state.step = 2
    assert choose_total_steps(run) == 1000
    run.state.step = 3
    assert choose_total_steps(run) == 3


def test_the_end_work_is_counted(time):
    """Averaging decodes once and writes twice; two mixtures and the base decode validation and guard."""
    run = build_run(1.0, most_steps=1000)
    run.args.average_checkpoints, run.args.interpolation_alphas = 2, [0.5, 1.0]
    run.args.guard_datasets = ["guard"]  # of 200 clips, beside 500 of validation
    for part, seconds in (("evaluation", 50.0), ("model", 4.0), ("save", 9.0), ("mirror", 7.0)):
        run.clock.note(part, seconds)
    for _ in range(3):
        time.now += 2.0
        run.clock.count_step(STEP)
    costs = measure_costs(run)
    assert costs.step == pytest.approx(2.0) and costs.save == 9
    assert costs.evaluation == 50 + 2 * 4  # best/ and a snapshot
    assert costs.closing == pytest.approx(4 + (50 + 2 * 4) + 3 * (50 * 1.4 + 4) + 7)


def test_time_between_steps_is_not_that_of_a_step(time):
    clock = RunClock()
    for seconds in (9.0, 2.0, 3.0):
        time.now += seconds
        clock.count_step(STEP)
        with clock.timing("save"):
            time.now += 50
    assert [seconds for _, seconds in clock.timed_steps] == [2.0, 3.0]  # without the first
    assert clock.last("save") == 50 and clock.last("mirror") is None
