"""The sampler: every clip each epoch, one context a step, the same order wherever it starts."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.batching import FULL_CONTEXT, dynamic_context, plan_steps, steps_per_epoch

DURATIONS = st.lists(st.floats(0.1, 30.0), min_size=1, max_size=80)


def plan(durations, batch_size, seed=0, first_step=0, last_step=None, audio_context="dynamic", jitter=(0.0,)):
    last = steps_per_epoch(len(durations), batch_size) if last_step is None else last_step
    return list(
        plan_steps(
            durations,
            batch_size=batch_size,
            audio_context=audio_context,
            jitter=jitter,
            seed=seed,
            first_step=first_step,
            last_step=last,
        )
    )


@settings(max_examples=60, deadline=None)
@given(DURATIONS, st.integers(1, 16), st.integers(0, 1000))
def test_an_epoch_holds_every_clip_and_full_batches_only(durations, batch_size, seed):
    steps = plan(durations, batch_size, seed)
    seen = [index for step in steps for index in step.indices]
    assert set(seen) == set(range(len(durations)))
    assert all(len(step.indices) == batch_size for step in steps)
    assert len(seen) - len(durations) < batch_size


@settings(max_examples=60, deadline=None)
@given(DURATIONS, st.integers(1, 16), st.integers(0, 1000), st.integers(0, 40))
def test_the_plan_is_the_same_wherever_it_starts(durations, batch_size, seed, start):
    jitter = (0.0, 1.0, 8.0)
    whole = plan(durations, batch_size, seed, 0, 60, jitter=jitter)
    assert plan(durations, batch_size, seed, start, 60, jitter=jitter) == whole[start:]


@settings(max_examples=60, deadline=None)
@given(DURATIONS, st.integers(1, 16), st.integers(0, 1000))
def test_the_context_holds_the_longest_clip_of_the_step(durations, batch_size, seed):
    for step in plan(durations, batch_size, seed, jitter=(0.0, 4.0)):
        longest = max(durations[index] for index in step.indices)
        assert min(longest, FULL_CONTEXT) <= step.context <= FULL_CONTEXT
        assert step.context * 50 == pytest.approx(round(step.context * 50))  # a whole number of positions


@settings(max_examples=40, deadline=None)
@given(DURATIONS, st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_processes_and_micro_batches_share_a_step_without_overlap(durations, size, processes, accumulation):
    for step in plan(durations, size * processes * accumulation):
        parts = [
            step.micro_batches(processes, process, accumulation=accumulation, most_seconds=math.inf)
            for process in range(processes)
        ]
        assert all(len(own) == accumulation for own in parts)
        micro_batches = [micro_batch for own in parts for micro_batch in own]
        assert all(len(micro_batch.indices) == size for micro_batch in micro_batches)
        assert {micro_batch.context for micro_batch in micro_batches} == {step.context}
        shared = sorted(index for micro_batch in micro_batches for index in micro_batch.indices)
        assert shared == sorted(step.indices)


@settings(max_examples=60, deadline=None)
@given(DURATIONS, st.integers(1, 8), st.integers(1, 3), st.integers(1, 3), st.floats(1, 300))
def test_a_limit_of_seconds_cuts_parts_but_leaves_no_clip_out(
    durations, size, processes, accumulation, most_seconds
):
    for step in plan(durations, size * processes * accumulation, jitter=(0.0, 8.0)):
        parts = [
            step.micro_batches(processes, process, accumulation=accumulation, most_seconds=most_seconds)
            for process in range(processes)
        ]
        assert len({len(own) for own in parts}) == 1 and len(parts[0]) >= accumulation
        micro_batches = [micro_batch for own in parts for micro_batch in own]
        for micro_batch in micro_batches:
            size_of_part = len(micro_batch.indices)
            assert 1 <= size_of_part <= size
            assert size_of_part == 1 or size_of_part * micro_batch.context <= most_seconds
        assert sorted(index for one in micro_batches for index in one.indices) == sorted(step.indices)


def test_epochs_and_seeds_differ_in_order():
    durations = [1.0 + index / 10 for index in range(64)]
    two_epochs = plan(durations, 8, last_step=16)
    assert [s.indices for s in two_epochs[:8]] != [s.indices for s in two_epochs[8:]]
    assert [s.indices for s in plan(durations, 8, seed=1)] != [s.indices for s in two_epochs[:8]]


def test_jitter_is_drawn_with_the_chances_of_the_list():
    contexts = [step.context for step in plan([2.0] * 8, 8, last_step=3000, jitter=(0.0, 0.0, 4.0, 8.0))]
    shares = {context: contexts.count(context) / 3000 for context in set(contexts)}
    assert shares == pytest.approx({2.1: 0.5, 6.1: 0.25, 10.1: 0.25}, abs=0.03)


def test_full_context_ignores_length_and_jitter():
    assert {step.context for step in plan([1.0] * 8, 4, audio_context="full", jitter=(4.0,))} == {30.0}


@pytest.mark.parametrize(
    ("duration", "grid", "context"),
    [
        (0.1, 0.1, 0.2),
        (2.4, 0.1, 2.5),
        (2.41, 0.1, 2.6),
        (2.4, 0.5, 2.5),
        (2.41, 0.5, 3.0),
        (29.95, 0.1, 30.0),
    ],
)
def test_contexts_by_hand(duration, grid, context):
    assert dynamic_context(duration, grid) == context


def test_clips_of_a_step_are_alike_in_length():
    durations = [0.5 + (index * 7919 % 400) / 50 for index in range(400)]
    steps = plan(durations, 8)
    padded = sum(step.context * 8 for step in steps)
    speech = sum(durations[index] for step in steps for index in step.indices)
    assert 1 - speech / padded < 0.10
