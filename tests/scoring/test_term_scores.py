"""Recall and false alarms of listed terms, counted by hand."""

import pytest

from utils.scoring.term_scores import TermCounts, score_terms
from utils.text.terms import TermFinder

FINDER = TermFinder(["Trenitalia", "Anna Rossi", "Otranto", "Domodossola", "Zara"])
REFERENCES = ["Trenitalia, Trenitalia.", "Qui Anna Rossi.", "nessun nome", "zara", ""]
HYPOTHESES = ["trenitalia treni", "qui Anna, Rossi e Otranto", "Otranto Otranto", "Zara! Zara.", "nulla"]


def score(references=REFERENCES, hypotheses=HYPOTHESES, finder=FINDER, **options):
    return score_terms(finder, references, hypotheses, **({"samples": 500, "seed": 0} | options))


def test_each_time_that_a_term_is_said_counts():
    found = score()
    assert found.by_term == {
        "Trenitalia": TermCounts(spoken=2, found=1, false_alarms=0),
        "Anna Rossi": TermCounts(spoken=1, found=1, false_alarms=0),
        "Otranto": TermCounts(spoken=0, found=0, false_alarms=3),
        "Zara": TermCounts(spoken=1, found=1, false_alarms=1),
    }
    assert (found.listed, found.spoken, found.found, found.false_alarms) == (5, 4, 3, 4)
    assert found.recall == 0.75
    low, high = found.ci95
    assert 0 <= low < 0.75 < high <= 1


def test_a_term_of_another_utterance_is_not_found():
    found = score(["Otranto", "Zara"], ["Zara", "Otranto"])
    assert (found.found, found.false_alarms, found.recall) == (0, 2, 0.0)


def test_without_a_term_there_is_no_recall():
    found = score(["nulla"], ["Zara"])
    assert (found.recall, found.ci95, found.false_alarms) == (None, (0.0, 1.0), 1)
    assert list(found.by_term) == ["Zara"]


def test_utterances_of_one_speaker_are_drawn_together():
    references, hypotheses = ["Zara"] * 40, ["Zara"] * 20 + ["sara"] * 20
    alone = score(references, hypotheses).ci95
    pairs = score(references, hypotheses, clusters=[str(n // 10) for n in range(40)]).ci95
    assert pairs[1] - pairs[0] > 1.5 * (alone[1] - alone[0])


@pytest.mark.parametrize(("counts", "recall", "faults"), [((4, 3, 2), 0.75, 3), ((0, 0, 2), None, 2)])
def test_recall_and_faults_of_a_term(counts, recall, faults):
    assert (TermCounts(*counts).recall, TermCounts(*counts).faults) == (recall, faults)
