"""Promote or not: results made by hand, one thing wrong at a time."""

from dataclasses import replace

import pytest

from tests.support.scored_results import BASE, SCORE, TUNED
from utils.evaluation.gate import gate_sentence, judge
from utils.evaluation.records import EvaluationResult, MadeUpWords, ModelComparison
from utils.scoring.failures import FAILURE_KINDS

NO_FAILURES = dict.fromkeys(FAILURE_KINDS, 0)
QUIET = {kind: MadeUpWords(4, 0, 0, 60.0) for kind in ("silence", "noise", "music")}
BEFORE = replace(BASE, failures=NO_FAILURES, hallucination=QUIET)
AFTER = replace(TUNED, failures=NO_FAILURES, hallucination=QUIET)
GUARD_BEFORE = replace(BEFORE, dataset="data/en", is_guard=True, normalized=replace(SCORE, wer=0.067))


def compared(before: EvaluationResult, after: EvaluationResult, p_value: float) -> ModelComparison:
    reduction = before.normalized.wer - after.normalized.wer
    return ModelComparison(
        before.model,
        after.model,
        after.dataset,
        after.split,
        "normalized",
        after.audio_context,
        reduction,
        reduction / before.normalized.wer,
        (reduction - 0.002, reduction + 0.002),
        "MAPSSWE",
        p_value,
        10,
        2,
        3,
    )


def gate_of(*pairs: tuple[EvaluationResult, EvaluationResult, float]):
    results = [before for before, _, _ in pairs] + [after for _, after, _ in pairs]
    (gate,) = judge(results, [compared(*pair) for pair in pairs], guard_tolerance=0.01)
    return gate


def test_a_better_model_is_promoted():
    guard_after = replace(AFTER, dataset="data/en", is_guard=True, normalized=replace(SCORE, wer=0.070))
    gate = gate_of((BEFORE, AFTER, 0.001), (GUARD_BEFORE, guard_after, 0.4))
    assert gate.promote and gate.reasons == []
    assert gate.passed == [
        "data/it (test), full context: fewer errors, 30.3 → 11.6 % WER, p = 0.001.",
        "data/en (test), full context, a guard: kept, 6.7 → 7.0 % WER.",
    ]
    assert gate_sentence(gate) == "Promote runs/[it]/best."


def test_a_model_chosen_on_the_test_split_is_not_promoted():
    gate = gate_of((BEFORE, replace(AFTER, warnings=["Chosen on test."]), 0.001))
    assert not gate.promote and gate.reasons == ["Chosen on test."]


def test_texts_as_they_are_written_decide_nothing():
    """More capitals and commas are wrong, fewer words."""
    good = compared(BEFORE, AFTER, 0.001)
    raw = replace(good, text="raw", wer_reduction=-0.2, ci95=(-0.25, -0.15))
    (gate,) = judge([BEFORE, AFTER], [raw, good], guard_tolerance=0.01)
    assert gate.promote and len(gate.passed) == 1
    (gate,) = judge([BEFORE, AFTER], [good, raw], guard_tolerance=0.01)
    assert gate.promote and len(gate.passed) == 1


@pytest.mark.parametrize(
    ("wer", "p_value", "expected"),
    [
        (0.29, 0.3, "not shown to make fewer errors, 30.3 → 29.0 % WER, p = 0.3"),
        (0.40, 0.001, "more errors, 30.3 → 40.0 % WER, p = 0.001"),
    ],
)
def test_errors_that_are_not_fewer(wer, p_value, expected):
    gate = gate_of((BEFORE, replace(AFTER, normalized=replace(SCORE, wer=wer)), p_value))
    assert not gate.promote and len(gate.reasons) == 1 and expected in gate.reasons[0]
    assert gate_sentence(gate).startswith("Do not promote runs/[it]/best: data/it (test), full context")


def test_where_the_test_sees_a_gain_the_interval_is_what_leaves_it_open():
    wide = replace(compared(BEFORE, AFTER, 1e-5), ci95=(-0.027, 0.35))
    (gate,) = judge([BEFORE, AFTER], [wide], guard_tolerance=0.01)
    expected = (
        "30.3 → 11.6 % WER, a reduction of -2.7 to 35.0 points at 95 %; use more test data, or train more"
    )
    assert not gate.promote and expected in gate.reasons[0]


def test_what_was_forgotten():
    guard_after = replace(AFTER, dataset="data/en", is_guard=True, normalized=replace(SCORE, wer=0.30))
    gate = gate_of((BEFORE, AFTER, 0.001), (GUARD_BEFORE, guard_after, 0.001))
    assert gate.reasons == [
        "data/en (test), full context, a guard: forgotten, 6.7 → 30.0 % WER; 1.0 points were allowed, "
        "p = 0.001."
    ]
    by_chance = gate_of((BEFORE, AFTER, 0.001), (GUARD_BEFORE, guard_after, 0.2))
    assert by_chance.promote and "may be chance" in by_chance.passed[-1]


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        ({"loop": 2}, "loop (the same words again and again) in 2 of 139 utterances, before 0"),
        ({"loop": 1}, None),  # 0.7 %
        ({"wrong language": 5}, "wrong language"),
        ({"no casing": 30}, "no casing"),
        ({"no casing": 20}, None),
        ({"decoder error": 1}, "the decoder failed on 1 of 139 utterances"),
    ],
)
def test_failures_that_have_become_more(failures, expected):
    gate = gate_of((BEFORE, replace(AFTER, failures=NO_FAILURES | failures), 0.001))
    assert gate.promote == (expected is None)
    assert expected is None or expected in gate.reasons[0]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"loop": 10}, {"loop": 11}, None),  # 0.7 %
        (
            {"loop": 10},
            {"loop": 15},
            "loop (the same words again and again) in 15 of 139 utterances, before 10",
        ),
        ({"loop": 15}, {"loop": 10}, None),
        ({"no casing": 30}, {"no casing": 57}, None),  # 19 %
        ({"no casing": 30}, {"no casing": 59}, "in 59 of 139 utterances, before 30"),
    ],
)
def test_failures_beside_those_that_the_baseline_has(before, after, expected):
    """What may be added is a share of the utterances, not of the baseline's failures."""
    results = [replace(row, failures=NO_FAILURES | own) for row, own in ((BEFORE, before), (AFTER, after))]
    gate = gate_of((*results, 0.001))
    assert gate.promote == (expected is None)
    assert expected is None or expected in gate.reasons[0]


@pytest.mark.parametrize(("words", "promote"), [(44, True), (46, False)])
def test_words_in_silence_beside_those_that_the_baseline_makes_up(words, promote):
    sounds = [QUIET | {"silence": MadeUpWords(4, 4, number, 60.0)} for number in (40, words)]
    before, after = (
        replace(row, hallucination=own) for row, own in zip((BEFORE, AFTER), sounds, strict=True)
    )
    assert gate_of((before, after, 0.001)).promote is promote


def test_words_in_silence():
    talkative = QUIET | {"silence": MadeUpWords(4, 4, 40, 60.0)}
    guard_after = replace(AFTER, dataset="data/en", is_guard=True, hallucination=talkative)
    after = replace(AFTER, hallucination=talkative)
    gate = gate_of((BEFORE, after, 0.001), (GUARD_BEFORE, guard_after, 0.5))
    reason = "full context: made-up words in silence, 40 words a minute, before 0."
    assert gate.reasons.count(reason) == 1  # of two datasets


def test_a_model_that_was_not_compared_is_not_promoted():
    (gate,) = judge([BEFORE, AFTER], [], guard_tolerance=0.01)
    assert not gate.promote and gate_sentence(gate).endswith("it was not compared.")


def test_a_baseline_whose_decoder_failed_proves_nothing():
    broken = replace(BEFORE, failures=NO_FAILURES | {"decoder error": 20})
    gate = gate_of((broken, AFTER, 0.001))
    assert gate.reasons == [
        "data/it (test), full context: the baseline's decoder failed on 20 of 139 utterances."
    ]


def test_without_the_full_context_nothing_is_promoted():
    before, after = (replace(result, audio_context="dynamic") for result in (BEFORE, AFTER))
    gate = gate_of((before, after, 0.001))
    assert not gate.promote and "not decoded in the full context" in gate.reasons[0]
    assert gate_of((BEFORE, AFTER, 0.001), (BEFORE, after, 0.001)).promote


def test_a_decoder_that_fails_on_silence_is_not_quiet():
    failing = QUIET | {"silence": MadeUpWords(4, 0, 0, 60.0, errors=4)}
    gate = gate_of((BEFORE, replace(AFTER, hallucination=failing), 0.001))
    told = "full context: silence, the decoder failed on 4 clips, with the model before on 0."
    assert gate.reasons == [told]
