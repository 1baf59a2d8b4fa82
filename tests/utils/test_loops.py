"""What counts as a loop of a decoder."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.loops import loop_period


@pytest.mark.parametrize(
    ("tokens", "period"),
    [
        ([7] * 48, 1),
        ([7] * 47, None),  # "ha ha ha" may go on for a while
        ([1, 2, 3] + [7, 8] * 24, 2),
        ([1, 2, 3] * 16, 3),
        (list(range(32)) * 4, 32),
        (list(range(32)) * 3 + list(range(31)), None),
        (list(range(33)) * 8, None),  # a longer pattern is no loop: refrains are sung
        ([7] * 100 + [8], None),  # it has found its way out
        ([], None),
    ],
)
def test_loops(tokens, period):
    assert loop_period(tokens) == period


@given(st.lists(st.integers(0, 50_000), max_size=60), st.integers(1, 32), st.integers(0, 31))
def test_whatever_came_before_a_loop_does_not_hide_it(before, period, extra):
    pattern = random.Random(period).sample(range(50_000), period)
    repeats = max(5, -(-48 // period) + 1)
    loop = pattern * repeats + pattern[: extra % period]
    found = loop_period(before + loop)
    assert found == period


@given(st.lists(st.integers(0, 50_000), max_size=200, unique=True))
def test_different_tokens_are_no_loop(tokens):
    assert loop_period(tokens) is None
