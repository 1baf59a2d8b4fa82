"""How a report arranges rows made by hand."""

import math

import pytest

from utils.report.result_rows import (
    find_baseline,
    find_row,
    in_percent,
    in_time,
    interval_in_percent,
    list_candidates,
    list_datasets,
    list_models,
    list_series,
    name_dataset,
    shorten,
)


def row(model: str, dataset: str = "it", context: str = "full", **changes) -> dict:
    return {"model": model, "dataset": dataset, "split": "test", "audio_context": context, **changes}


ROWS = [
    row("base", "en", is_guard=True),
    row("base"),
    row("tuned", context="dynamic"),
    row("tuned"),
    row("other", context="dynamic"),
]


def gain(candidate: str, reduction: float, text: str = "normalized") -> dict:
    return {"baseline": "base", "candidate": candidate, "text": text, "wer_reduction": reduction}


def test_guard_datasets_come_last():
    assert list_models(ROWS) == ["base", "tuned", "other"]
    assert list_datasets(ROWS) == [("it", "test"), ("en", "test")]
    assert name_dataset(ROWS[:1]) == "en (test, guard)" and name_dataset(ROWS[1:2]) == "it (test)"


def test_the_context_is_named_where_there_are_two():
    labels = [(one.label, one.number, one.is_dynamic) for one in list_series(ROWS, ROWS[1:4])]
    assert labels == [("base · full", 0, False), ("tuned · dynamic", 1, True), ("tuned · full", 1, False)]
    assert [one.label for one in list_series(ROWS[:2], ROWS[:2])] == ["base", "base"]


def test_the_full_context_is_preferred():
    assert find_row(ROWS, "tuned", ("it", "test")) is ROWS[3]
    assert find_row(ROWS, "tuned", ("it", "test"), "dynamic") is ROWS[2]
    assert find_row(ROWS, "other", ("it", "test")) is ROWS[4]
    assert find_row(ROWS, "tuned", ("en", "test")) is None


def test_candidates_stand_as_the_analysis_ranks_them():
    analysis = {"comparisons": [gain("tuned", 0.1), gain("other", 0.2)], "candidates": ["other", "tuned"]}
    assert find_baseline(ROWS, analysis) == "base" and list_candidates(ROWS, analysis) == ["other", "tuned"]
    assert list_candidates(ROWS, None) == ["tuned", "other"]
    assert find_baseline(ROWS[:2], None) is None and list_candidates(ROWS[:2], None) == ["base"]


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0.1234, "12.3"), (9.64, "964.0"), (0.0, "0.0"), (math.nan, "–"), (math.inf, "–"), (None, "–")],
)
def test_rates_in_percent(rate, text):
    assert in_percent(rate) == text


def test_intervals_and_lengths():
    assert interval_in_percent({"ci95": [0.1, 0.251]}) == "10.0 to 25.1"
    assert interval_in_percent({"ci95": [0.1, math.nan]}) == interval_in_percent({}) == "–"
    assert [in_time(s) for s in (59.6, 600, 9000)] == ["60 s", "10.0 min", "2.5 h"]
    assert shorten("x" * 70 + "/best") == "…" + "x" * 54 + "/best"
