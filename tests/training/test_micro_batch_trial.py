"""The arithmetic of trying the largest step; tests/test_train_memory.py tries real ones."""

import pytest

from utils.training.micro_batch_trial import clips_within


@pytest.mark.parametrize(
    ("bound", "most", "clips", "tried"),
    [
        (119, 16, 0, [1]),  # one is too much
        (139, 16, 1, [1]),  # as if a second took as much as the first with what it shares
        (150, 16, 4, [1, 2, 4]),
        (190, 16, 8, [1, 2, 4, 8]),
        (209, 16, 9, [1, 2, 4, 8, 9]),
        (10_000, 16, 16, [1, 2, 4, 8, 16]),
        (10_000, 3, 3, [1, 2, 3]),
    ],
)
def test_numbers_are_doubled_while_the_line_says_that_they_fit(bound, most, clips, tried):
    """A model of 100 bytes; a pass takes 10, and 10 for every clip."""
    peaks = []

    def peak_of(number: int) -> int:
        peaks.append(number)
        return 110 + 10 * number

    assert clips_within(bound, 100, most, peak_of) == clips
    assert peaks == tried


def test_a_number_that_took_more_than_the_line_said_does_not_count():
    """A peak that bends upwards; nothing larger is tried."""
    assert clips_within(200, 100, 16, lambda clips: {1: 110, 2: 120, 4: 201}[clips]) == 2


def test_peaks_that_do_not_grow_let_the_number_be_doubled():
    assert clips_within(200, 150, 8, lambda clips: 150) == 8
