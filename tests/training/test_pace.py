"""The schedule of a run whose number of steps changes, and how many steps fit into a time."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import optimization

from utils.training.pace import Costs, Pace, ScheduleChange

LINEAR = partial(
    optimization._get_linear_schedule_with_warmup_lr_lambda, num_warmup_steps=10, num_training_steps=100
)


def test_without_a_change_the_schedule_is_that_of_transformers():
    pace = Pace(100)
    assert [pace.follow(LINEAR, step) for step in range(101)] == [LINEAR(step) for step in range(101)]


def test_a_change_by_hand():
    """Half of the schedule is done at step 50 of 100; the other half is spread over ten steps."""
    pace = Pace(100)
    assert pace.change(50, 60) == ScheduleChange(50, 0.5, 60)
    assert pace.total_steps == 60
    assert [pace.position(step) for step in (50, 55, 60)] == [50, 75, 100]
    assert pace.follow(LINEAR, 55) == LINEAR(75) and pace.follow(LINEAR, 60) == 0


def test_a_run_that_ends_at_once_is_at_the_end_of_its_schedule():
    pace = Pace(100)
    pace.change(7, 7)
    assert pace.position(7) == 100


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 200)), max_size=5), st.integers(50, 500))
def test_changes_make_no_jump_and_the_end_is_the_end(changes, most):
    """The learning rate goes on from where it is, without a step back in the schedule, up to its end."""
    pace, step = Pace(most), 0
    for ahead, more in changes:
        now = min(step + ahead, pace.total_steps - 1)
        before = pace.position(now)
        pace.change(now, now + more)
        assert pace.position(now) == pytest.approx(before)
        step = now
    places = [pace.position(number) for number in range(step, pace.total_steps + 1)]
    assert places == sorted(places)
    assert places[-1] == pytest.approx(most)


def count_by_walking(costs: Costs, done: int, total: int) -> float:
    """Seconds of a run, step by step, as `save_and_evaluate` of train.py goes."""
    seconds = 0.0
    for step in range(done, total + 1):
        seconds += costs.step * (step > done)
        for interval, cost in ((costs.eval_steps, costs.evaluation), (costs.save_steps, costs.save)):
            if interval and (step % interval == 0 or step == total):
                seconds += cost
    return seconds + costs.closing


times = st.floats(0.01, 100)
interval = st.integers(0, 12)


@given(
    st.builds(Costs, times, times, times, times, interval, interval), st.integers(1, 40), st.integers(0, 60)
)
def test_seconds_are_those_of_each_step_evaluation_and_checkpoint(costs, done, more):
    assert costs.seconds(done, done + more) == pytest.approx(count_by_walking(costs, done, done + more))


@given(
    st.builds(Costs, times, times, times, times, interval, interval),
    st.integers(1, 40),
    st.integers(0, 60),
    st.floats(0, 5000),
)
def test_as_many_steps_as_fit_and_no_more(costs, done, more, seconds):
    found = costs.steps_within(seconds, done, done + more)
    fitting = [total for total in range(done, done + more + 1) if costs.seconds(done, total) <= seconds]
    assert found == max(fitting, default=done)
