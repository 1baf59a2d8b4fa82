"""How a report arranges results made by hand."""

from dataclasses import replace

from tests.support.made_up_results import build_result, group
from utils.report.series import (
    find_result,
    list_datasets,
    list_models,
    list_series,
    list_values,
    name_dataset,
    name_measures,
)

BASE_EN = build_result("base", dataset="en", is_guard=True)
BASE_IT = build_result("base", dataset="it")
TUNED_DYNAMIC = build_result("tuned", dataset="it", audio_context="dynamic")
TUNED = replace(TUNED_DYNAMIC, audio_context="full")
OTHER = build_result("other", dataset="it", audio_context="dynamic")
RESULTS = [BASE_EN, BASE_IT, TUNED_DYNAMIC, TUNED, OTHER]


def test_guard_datasets_come_last():
    assert list_models(RESULTS) == ["base", "tuned", "other"]
    datasets = list_datasets(RESULTS)
    assert [one.results for one in datasets] == [[BASE_IT, TUNED_DYNAMIC, TUNED, OTHER], [BASE_EN]]
    assert [one.name for one in datasets] == ["it (test)", "en (test, guard)"]
    assert name_dataset(BASE_EN) == "en (test, guard)" and name_dataset(BASE_IT) == "it (test)"


def test_the_context_is_named_where_there_are_two():
    series = list_series(RESULTS, RESULTS[1:4])
    labels = [(one.label, one.style, one.is_dynamic) for one in series]
    assert labels == [
        ("base · full", "series-0", False),
        ("tuned · dynamic", "series-1 dynamic", True),
        ("tuned · full", "series-1", False),
    ]
    assert [one.label for one in list_series(RESULTS[:2], RESULTS[:2])] == ["base", "base"]


def test_the_full_context_is_preferred():
    on_italian = RESULTS[1:]
    assert find_result(on_italian, "tuned") is TUNED and find_result(on_italian, "other") is OTHER


def test_the_measure_of_a_script_decides():
    chinese = build_result("base", 0.9, measure="cer")  # of a CER of 0.3
    (dataset,) = list_datasets([chinese])
    assert dataset.measure == "CER" and round(dataset.series[0].rate(chinese.normalized), 6) == 0.3
    assert name_measures([chinese, BASE_IT, chinese]) == "CER or WER"


def test_groups_are_ordered_by_the_last_model():
    first = build_result("base", groups={"accent": {"a": group(0.1), "b": group(0.2), "c": group(0.3)}})
    last = build_result("tuned", groups={"accent": {"a": group(0.2), "b": group(0.3), "c": group(0.1)}})
    assert list_values("accent", list_series([first, last], [first, last])) == ["b", "a", "c"]


def test_the_seventh_model_has_the_colour_of_the_first():
    many = [build_result(f"run {n}") for n in range(7)]
    assert [one.style for one in list_series(many, many)] == [*(f"series-{n}" for n in range(6)), "series-0"]
