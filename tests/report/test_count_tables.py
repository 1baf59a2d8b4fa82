"""Counts of models side by side, made of results by hand."""

from dataclasses import replace

from tests.support.made_up_results import BASE, TUNED, build_result, failures
from tests.support.scored_results import TERMS
from utils.evaluation.records import MadeUpWords
from utils.report.count_tables import (
    MOST_TERMS,
    confusion_table,
    failure_table,
    made_up_word_table,
    term_table,
)
from utils.report.series import list_datasets, list_series
from utils.scoring.term_scores import TermCounts
from utils.scoring.word_alignment import Confusion


def made_up(words: int) -> dict[str, MadeUpWords]:
    return {"silence": MadeUpWords(clips=20, clips_with_text=6, words=words, audio_seconds=60.0)}


def test_a_probe_is_shown_once_for_each_model_and_context():
    results = [
        build_result(hallucination=made_up(30)),
        build_result(TUNED, hallucination=made_up(3)),
        build_result(dataset="data/en", hallucination=made_up(99)),
        build_result(TUNED, audio_context="dynamic", hallucination=made_up(12)),
    ]
    table = made_up_word_table(results)
    assert [one.label for one in table.series] == [f"{BASE} · full", f"{TUNED} · full", f"{TUNED} · dynamic"]
    assert [(row.name, [count.figure for count in row.counts]) for row in table.rows] == [
        ("silence", ["30.0", "3.0", "12.0"])
    ]
    assert table.rows[0].counts[0].aside == "6 of 20 clips" and table.top == 30.0
    assert made_up_word_table([build_result(hallucination=None)]).rows == []


def test_failures_of_no_model_are_left_out():
    results = [build_result(failures=failures(loop=2)), build_result(TUNED, failures=failures(truncated=1))]
    table = failure_table(list_series(results, results))
    assert [row.name for row in table.rows] == ["loop", "truncated"]
    assert [count.figure for row in table.rows for count in row.counts] == ["2", "0", "0", "1"]


def test_the_last_models_commonest_confusions_come_first():
    first = [Confusion("a", "b", 9), Confusion("c", "d", 5), Confusion("e", "f", 2)]
    last = [Confusion("e", "f", 7), Confusion("c", "d", 7), Confusion("g", None, 1)]
    results = [build_result(confusions=first), build_result(TUNED, confusions=last)]
    (dataset,) = list_datasets(results)
    rows = [(row.reference, row.hypothesis, row.counts) for row in confusion_table(dataset).rows]
    assert rows == [("c", "d", [5, 7]), ("e", "f", [2, 7]), ("g", None, [0, 1]), ("a", "b", [9, 0])]


def test_the_terms_that_the_last_model_gets_wrong_most_come_first():
    tuned = {"Zara": TermCounts(39, 39, 0), "Otranto": TermCounts(2, 1, 1), "Torino": TermCounts(0, 0, 3)}
    results = [build_result(terms=TERMS), build_result(TUNED, terms=replace(TERMS, by_term=tuned))]
    (dataset,) = list_datasets([*results, build_result("without", terms=None)])
    table = term_table(dataset)
    assert [one.label for one in table.series] == [BASE, TUNED]
    assert [(row.name, [(count.figure, count.aside) for count in row.counts]) for row in table.rows] == [
        ("Torino", [("0.0 %", "0 of 1"), ("–", "3 false alarms")]),
        ("Otranto", [("–", "2 false alarms"), ("50.0 %", "1 of 2, 1 false alarm")]),
        ("=Zara", [("76.9 %", "30 of 39"), ("–", "never said, never written")]),
        ("Zara", [("–", "never said, never written"), ("100.0 %", "39 of 39")]),
    ]
    assert table.top == 100.0
    many = {f"nome {number}": TermCounts(1, 0, 0) for number in range(2 * MOST_TERMS)}
    (dataset,) = list_datasets([build_result(terms=replace(TERMS, by_term=many))])
    assert len(term_table(dataset).rows) == MOST_TERMS
