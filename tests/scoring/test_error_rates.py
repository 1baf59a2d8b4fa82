"""utils/scoring/error_rates.py: rates by hand, records, names that the command line shares."""

import typing

import pytest

from utils.arguments.train import TrainArguments
from utils.scoring.error_rates import (
    METRIC_LABELS,
    METRICS,
    describe_rates,
    error_rates,
    evaluation_record,
    prediction_records,
    score_utterances,
)


@pytest.fixture
def scored():
    """Raw: 2 of 4 words and 4 of 17 characters wrong; normalised: 1 of 4 words and 2 of 16 characters."""
    return score_utterances(["a", "b"], ["Ciao, mondo", "due gatti"], ["ciao mondo", "due gatto ti"], "basic")


def test_rates_by_hand(scored):
    # words: raw ciao,/ciao + gatti/gatto + inserted ti = 3 of 4; normalised gatti/gatto + ti = 2 of 4
    # characters: raw C/c, the comma, then "gatti" -> "gatto ti" three more of 11 + 9; normalised 3 of 10 + 9
    rates = error_rates(scored)
    assert (rates.raw_wer, rates.normalized_wer) == (3 / 4, 2 / 4)
    assert (rates.raw_cer, rates.normalized_cer) == (5 / 20, 3 / 19)


def test_every_metric_is_found_by_name_and_is_an_argument(scored):
    rates = error_rates(scored)
    assert [rates.of(name) for name in METRICS] == [2 / 4, 3 / 4, 3 / 19, 5 / 20]
    offered = typing.get_type_hints(TrainArguments)["metric_for_best_model"]
    assert typing.get_args(offered) == METRICS == tuple(METRIC_LABELS)
    with pytest.raises(KeyError):
        rates.of("wer")


def test_records(scored):
    assert evaluation_record(error_rates(scored)) == {
        "eval_wer": 0.75,
        "eval_normalized_wer": 0.5,
        "eval_cer": 0.25,
        "eval_normalized_cer": 3 / 19,
    }
    first, second = prediction_records(scored)
    assert first["normalized_reference"] == first["normalized_hypothesis"] == "ciao mondo"
    assert (first["raw_word_errors"], first["raw_words"], first["normalized_word_errors"]) == (1, 2, 0)
    assert (second["id"], second["normalized_word_errors"]) == ("b", 2)
    assert "WER 75.00 % raw, 50.00 % normalised" in describe_rates(error_rates(scored))


def test_lists_of_different_length_are_an_error():
    with pytest.raises(ValueError):
        score_utterances(["a"], ["uno"], ["uno", "due"], "basic")


def word_error_rates(references: list[str], hypotheses: list[str], normalizer: str) -> tuple[float, float]:
    rates = error_rates(score_utterances(references, references, hypotheses, normalizer))
    return rates.raw_wer, rates.normalized_wer


def test_the_normaliser_makes_case_and_punctuation_equal():
    # raw: "Ciao," and "CIAO" differ, so do "mondo!" and "mondo"
    texts = ["Ciao, mondo!", "due  parole"], ["CIAO mondo", "due parole"]
    assert word_error_rates(*texts, "basic") == (0.5, 0.0)


def test_a_reference_that_the_normaliser_empties_stays_in_the_count():
    # "[musica]" is a bracketed remark: no reference word is left, the two words heard are insertions
    raw, normalized = word_error_rates(["[musica]", "uno due"], ["buona sera", "uno due"], "basic")
    assert raw == pytest.approx(2 / 3)  # a substitution and an insertion over 1 + 2 words
    assert normalized == pytest.approx(2 / 2)


def test_english_normaliser_joins_spellings_that_the_basic_one_keeps_apart():
    assert word_error_rates(["I can't"], ["I can not"], "english")[1] == 0
    assert word_error_rates(["I can't"], ["I can not"], "basic")[1] > 0
