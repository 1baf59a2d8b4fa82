"""Decimal commas are read where a comma can mean nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.data.decimals import has_decimal_commas, read_decimal


def test_a_number_by_itself():
    texts = ("12.4", "12,4", " 0,250 ", "12,3456", "7", "-1", "1,234", "1,234.5", "1.234,5", "1,2,3", "x", "")
    assert [read_decimal(text) for text in texts] == [
        12.4, 12.4, 0.25, 12.3456, 7.0, -1.0, None, None, None, None, None, None,
    ]  # fmt: skip
    assert read_decimal("1,234", has_decimal_commas=True) == 1.234


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (["0,000", "1,234"], True),
        (["0", "1,5", "1,234"], True),  # 1,5 has no thousands
        (["1,234", "2,345"], True),  # milliseconds everywhere
        (["998", "1,003"], False),  # whole seconds, and thousands of them
        (["0.5", "1,003"], False),
    ],
)
def test_numbers_of_a_table(numbers, expected):
    assert has_decimal_commas(numbers) is expected


@given(st.lists(st.floats(0, 9000), min_size=1))
def test_a_table_with_a_comma_in_every_number_gives_the_numbers(values):
    written = [f"{value:.6f}".replace(".", ",") for value in values]
    assert has_decimal_commas(written)
    assert [read_decimal(text, has_decimal_commas=True) for text in written] == [round(v, 6) for v in values]
