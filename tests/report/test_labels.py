"""Figures and names as a report writes them."""

import unicodedata

import pytest

from utils.report.labels import (
    in_percent,
    in_time,
    interval_in_percent,
    share_in_percent,
    shorten,
    without_controls,
)


@pytest.mark.parametrize(("rate", "text"), [(0.1234, "12.3"), (9.64, "964.0"), (0.0, "0.0")])
def test_rates_in_percent(rate, text):
    assert in_percent(rate) == text


def test_intervals_and_lengths():
    assert interval_in_percent((0.1, 0.251)) == "10.0 to 25.1"
    assert interval_in_percent((0.1, 0.251), 2) == "10.00 to 25.10"
    assert [in_time(s) for s in (59.6, 600, 9000)] == ["60 s", "10.0 min", "2.5 h"]


def test_long_names_keep_their_end():
    assert shorten("x" * 70 + "/best") == "…" + "x" * 54 + "/best" and shorten("x" * 60) == "x" * 60


@pytest.mark.parametrize(
    ("part", "whole", "shown"), [(1, 3, "33 %"), (999, 1000, "99.9 %"), (1, 1000, "0.1 %"), (0, 0, "0.0 %")]
)
def test_share_in_percent(part, whole, shown):
    assert share_in_percent(part, whole) == shown


def test_control_characters_but_line_ends_and_tabs_are_replaced():
    """Of ISO 8859-1, the characters of the category Cc (Unicode, 23.1)."""
    text = "".join(map(chr, range(0x3000)))
    kept = {"\t", "\n", "\r"}
    expected = ["\ufffd" if unicodedata.category(c) == "Cc" and c not in kept else c for c in text]
    assert without_controls(text) == "".join(expected)
