"""Expected values are worked out by hand, come from jiwer and sclite, or from textbook formulas."""

import json
from pathlib import Path

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from tests.support.sclite import (
    align_with_sclite,
    count_edits,
    draw_hypotheses,
    draw_references,
    read_alignments,
)
from utils.scoring import intervals
from utils.scoring.error_rates import (
    ErrorCounts,
    bootstrap_interval,
    count_errors,
    total_counts,
)
from utils.scoring.model_comparison import compare
from utils.scoring.word_alignment import Confusion, Edit, align_words, count_confusions

words = st.lists(st.sampled_from(["a", "b", "c", "dd"]), max_size=6).map(" ".join)
pairs = st.lists(st.tuples(words, words), min_size=1, max_size=12)
counts = st.builds(ErrorCounts, *[st.integers(0, 5)] * 3, st.integers(0, 9))


def errors(*per_utterance: int, length: int = 10) -> list[ErrorCounts]:
    return [ErrorCounts(number, 0, 0, length) for number in per_utterance]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("il gatto nero", "il gatto nero", ErrorCounts(0, 0, 0, 3)),
        ("il gatto nero", "il cane nero", ErrorCounts(1, 0, 0, 3)),
        ("il gatto nero", "il gatto molto nero", ErrorCounts(0, 1, 0, 3)),
        ("il gatto nero", "il nero", ErrorCounts(0, 0, 1, 3)),
        ("il gatto nero", "", ErrorCounts(0, 0, 3, 3)),
        ("", "grazie a tutti", ErrorCounts(0, 3, 0, 0)),
        ("", "", ErrorCounts(0, 0, 0, 0)),
        ("a\tb\u00a0c", "a b  c\n", ErrorCounts(0, 0, 0, 3)),
    ],
)
def test_word_errors_by_hand(reference, hypothesis, expected):
    assert count_errors([reference], [hypothesis]) == [expected]


def test_character_errors_count_the_space_between_words():
    # "ab c" to "abc" loses one of four characters, "gatto" to "gatti" changes one of five
    assert count_errors(["ab c", "gatto"], ["abc", "gatti"], "char") == [
        ErrorCounts(0, 0, 1, 4),
        ErrorCounts(1, 0, 0, 5),
    ]


def test_words_aligned_by_hand():
    assert align_words("il gatto  nero", "il patto tigrato nero") == [
        Edit("equal", "il", "il"),
        Edit("substitute", "gatto", "patto"),
        Edit("insert", None, "tigrato"),
        Edit("equal", "nero", "nero"),
    ]
    assert align_words("uno due", "due") == [Edit("delete", "uno", None), Edit("equal", "due", "due")]
    assert align_words("", "") == []
    assert json.dumps(align_words("a", "")) == '[["delete", "a", null]]'


@pytest.mark.parametrize(
    ("said", "heard", "expected"),
    [
        ("è", "e qui", [("è", "e"), (None, "qui")]),  # nothing in common: the first that is heard
        ("è", "qui é", [("è", "qui"), (None, "é")]),
        ("casa", "un cosa", [(None, "un"), ("casa", "cosa")]),
        ("la mia casa", "cosa", [("la", None), ("mia", None), ("casa", "cosa")]),
        ("alto mare", "aito di maro", [("alto", "aito"), (None, "di"), ("mare", "maro")]),
    ],
)
def test_words_spelt_alike_are_pairs(said, heard, expected):
    assert [edit[1:] for edit in align_words(said, heard)] == expected


def test_texts_with_nothing_in_common_are_aligned_in_bounded_time():
    edits = align_words(" ".join(map(str, range(2000))), "bla " * 6000)
    assert count_edits(edits) == ErrorCounts(2000, 4000, 0, 2000)


def test_characters_aligned_by_hand():
    assert align_words("你好吗", "你 好", "char") == [
        Edit("equal", "你", "你"),
        Edit("insert", None, " "),
        Edit("equal", "好", "好"),
        Edit("delete", "吗", None),
    ]


@given(words, words, st.sampled_from(["word", "char"]))
def test_an_alignment_spells_both_texts_and_has_the_fewest_edits(reference, hypothesis, unit):
    edits = align_words(reference, hypothesis, unit)
    gap = " " if unit == "word" else ""
    assert gap.join(edit.reference for edit in edits if edit.reference is not None) == reference
    assert gap.join(edit.hypothesis for edit in edits if edit.hypothesis is not None) == hypothesis
    assert [count_edits(edits)] == count_errors([reference], [hypothesis], unit)


def test_confusions_by_hand():
    heard = [("la casa è", "la cosa"), ("casa", "cosa"), ("è qui", "e qui ora"), ("la casa", "la casa")]
    assert count_confusions(align_words(*pair) for pair in heard) == [
        Confusion("casa", "cosa", 2),
        Confusion(None, "ora", 1),
        Confusion("è", None, 1),
        Confusion("è", "e", 1),
    ]
    assert count_confusions((align_words(*pair) for pair in heard), most=1) == [Confusion("casa", "cosa", 2)]
    assert count_confusions([]) == []


@pytest.mark.parametrize(
    ("count", "mer", "wil"),
    [
        (ErrorCounts(1, 1, 1, 5), 3 / 6, 1 - 9 / 25),  # 3 hits, 5 words heard
        (ErrorCounts(0, 4, 0, 1), 4 / 5, 1 - 1 / 5),  # MER stays below 1 where the WER is 4
        (ErrorCounts(0, 0, 0, 3), 0, 0),
        (ErrorCounts(0, 0, 3, 3), 1, 1),
        (ErrorCounts(0, 2, 0, 0), 1, 1),
        (ErrorCounts(0, 0, 0, 0), 0, 0),
    ],
)
def test_mer_and_wil_by_hand(count, mer, wil):
    assert count.match_error_rate == pytest.approx(mer)
    assert count.information_lost == pytest.approx(wil)


@pytest.mark.parametrize("unit", ["word", "char"])
def test_counts_and_rates_equal_jiwers_on_6000_pairs(unit):
    references = draw_references(6000, seed=1)
    hypotheses = draw_hypotheses(references, seed=2)
    assert references.count("") > 100 and hypotheses.count("") > 100
    counts = count_errors(references, hypotheses, unit)
    judge = jiwer.process_words if unit == "word" else jiwer.process_characters
    for count, reference, hypothesis in zip(counts, references, hypotheses, strict=True):
        each = judge(reference, hypothesis)
        assert count == ErrorCounts(
            each.substitutions, each.insertions, each.deletions, len(each.references[0])
        )
    whole, total = judge(references, hypotheses), total_counts(counts)
    assert total.rate == pytest.approx(whole.wer if unit == "word" else whole.cer)
    if unit == "word":
        assert total.match_error_rate == pytest.approx(whole.mer)
        assert total.information_lost == pytest.approx(whole.wil)


def test_errors_equal_sclites_on_6000_pairs(require_program, tmp_path: Path):
    # Sclite weighs a substitution 4 and the others 3, so that among alignments with as few edits it takes one
    # with the most words right, and can even take one edit more to get more words right.
    references = draw_references(6000, seed=1)
    hypotheses = draw_hypotheses(references, seed=2)
    path = align_with_sclite(require_program("sctk"), references, hypotheses, tmp_path, "model")
    theirs = [count_edits([Edit(*edit) for edit in edits]) for edits in read_alignments(path)]
    ours = count_errors(references, hypotheses)
    assert len(theirs) == len(ours)
    differing = more = 0
    for count, judged, reference, hypothesis in zip(ours, theirs, references, hypotheses, strict=True):
        said, heard = reference.split(), hypothesis.split()
        assert judged.reference_length == len(said) and judged.hypothesis_length == len(heard)
        assert count.errors == Levenshtein.distance(said, heard) <= judged.errors
        weighed = 4 * judged.substitutions + 3 * (judged.insertions + judged.deletions)
        assert weighed == Levenshtein.distance(said, heard, weights=(3, 3, 4))
        # every other count is sclite's preference for words right, none a tie that it breaks otherwise
        assert count == judged or judged.hits > count.hits
        differing += count != judged
        more += judged.errors - count.errors
    print(f"{differing} of {len(ours)} utterances parted otherwise, {more} errors more")
    print(total_counts(ours), total_counts(theirs))
    assert differing < 0.05 * len(ours)
    assert more < 0.0005 * total_counts(ours).errors


def test_every_utterance_keeps_its_own_counts():
    assert count_errors(["a b", "", "c"], ["a x", "y", ""]) == [
        ErrorCounts(1, 0, 0, 2),
        ErrorCounts(0, 1, 0, 0),
        ErrorCounts(0, 0, 1, 1),
    ]


def test_no_utterances_and_unequal_lists():
    assert count_errors([], []) == []
    with pytest.raises(ValueError, match="2 references and 1 hypotheses"):
        count_errors(["a", "b"], ["a"])


@given(pairs)
def test_corpus_rates_equal_jiwers(utterances):
    references, hypotheses = map(list, zip(*utterances, strict=True))
    word_total = total_counts(count_errors(references, hypotheses, "word"))
    character_total = total_counts(count_errors(references, hypotheses, "char"))
    assert word_total.rate == pytest.approx(jiwer.wer(references, hypotheses))
    assert character_total.rate == pytest.approx(jiwer.cer(references, hypotheses))
    assert word_total.reference_length == sum(len(reference.split()) for reference in references)


@given(pairs)
def test_insertions_and_deletions_explain_the_difference_in_length(utterances):
    for (reference, hypothesis), count in zip(
        utterances, count_errors(*map(list, zip(*utterances, strict=True))), strict=True
    ):
        assert count.insertions - count.deletions == len(hypothesis.split()) - len(reference.split())


@given(st.lists(counts, max_size=6), st.lists(counts, max_size=6))
def test_adding_counts_adds_corpora(first, second):
    assert total_counts(first) + total_counts(second) == total_counts([*second, *first])


def test_an_empty_corpus_has_rate_zero_and_words_from_silence_count():
    assert total_counts([]).rate == 0
    assert ErrorCounts(0, 3, 0, 0).rate == 3  # as jiwer.wer("", "a b c")
    assert jiwer.wer("", "a b c") == 3


@settings(max_examples=40, deadline=None)
@given(st.lists(counts, min_size=1, max_size=20), st.integers(0, 100))
def test_interval_is_ordered_and_within_the_extremes(utterances, seed):
    low, high = bootstrap_interval(utterances, 100, seed)
    assert 0 <= low <= high
    assert bootstrap_interval(utterances, 100, seed) == (low, high)


def test_interval_of_equal_utterances_is_a_point():
    assert bootstrap_interval(errors(2, 2, 2, 2), 200, 0) == (0.2, 0.2)
    assert bootstrap_interval([], 200, 0) == (0.0, 0.0)


def test_interval_agrees_with_the_normal_approximation():
    # 2,000 utterances of one word, 30 % wrong: 0.3 ± 1.96 sqrt(0.3 · 0.7 / 2000) = 0.2799 … 0.3201
    low, high = bootstrap_interval(errors(*[1] * 600, *[0] * 1400, length=1), 4000, 1)
    assert low == pytest.approx(0.2799, abs=0.002)
    assert high == pytest.approx(0.3201, abs=0.002)


def test_clusters_are_drawn_together_for_levels_and_for_differences():
    # fifty times the same four utterances: a cluster each time tells nothing new, utterances seem to
    baseline, candidate = errors(*[3, 1, 0, 2] * 50), errors(*[1, 1, 0, 0] * 50)
    clusters = [f"speaker {index // 4}" for index in range(200)]
    assert bootstrap_interval(baseline, 300, 0, clusters) == pytest.approx((0.15, 0.15))
    assert compare(baseline, candidate, 300, 0, clusters).ci95 == pytest.approx((0.1, 0.1))
    assert np.diff(bootstrap_interval(baseline, 300, 0)) > 0.02


def test_memory_chunks_do_not_change_the_draws(monkeypatch):
    utterances = errors(*np.random.default_rng(0).integers(0, 5, 37).tolist())
    whole = bootstrap_interval(utterances, 300, 9)
    monkeypatch.setattr(intervals, "DRAWS_AT_ONCE", 100)
    assert bootstrap_interval(utterances, 300, 9) == whole


def test_intervals_cover_the_true_rate_about_95_times_in_100():
    generator = np.random.default_rng(3)
    covered = 0
    for trial in range(200):
        drawn = generator.binomial(8, 0.2, size=150).tolist()
        low, high = bootstrap_interval(errors(*drawn, length=8), 300, trial)
        covered += low <= 0.2 <= high
    assert 180 <= covered <= 199  # binomial(200, 0.95) leaves this range about once in 800 seeds


def test_comparison_by_hand():
    # 40 words each: 9 errors against 4, so 0.225 - 0.1
    outcome = compare(errors(4, 3, 0, 2), errors(1, 1, 0, 2), 500, 0)
    assert outcome.wer_reduction == pytest.approx(0.125)
    assert outcome.relative_reduction == pytest.approx(5 / 9)
    assert (outcome.wins, outcome.losses, outcome.ties) == (2, 0, 2)
    assert outcome.test == "paired bootstrap"


def test_comparison_of_a_model_with_itself_finds_nothing():
    outcome = compare(errors(1, 0, 3), errors(1, 0, 3), 200, 0)
    assert (outcome.wer_reduction, outcome.relative_reduction, outcome.p_value) == (0, 0, 1)
    assert outcome.ci95 == (0, 0)


def test_comparison_with_a_faultless_baseline_stays_finite():
    outcome = compare(errors(0, 0), errors(1, 1), 200, 0)
    assert outcome.wer_reduction == pytest.approx(-0.1)
    assert outcome.relative_reduction == 0


def test_comparison_interval_agrees_with_the_paired_normal_approximation():
    # of 1,000 one-word utterances 150 get better and 50 worse: mean 0.1, standard error
    # sqrt((0.2 - 0.1²) / 1000) = 0.01378, so 0.0730 … 0.1270
    baseline = errors(*[1] * 150, *[0] * 50, *[1] * 300, *[0] * 500, length=1)
    candidate = errors(*[0] * 150, *[1] * 50, *[1] * 300, *[0] * 500, length=1)
    outcome = compare(baseline, candidate, 4000, 5)
    assert outcome.ci95 == (pytest.approx(0.0730, abs=0.002), pytest.approx(0.1270, abs=0.002))
    assert outcome.p_value == pytest.approx(2 / 4001)  # never zero: one is added to both counts


def test_p_value_agrees_with_the_normal_approximation():
    # 60 better and 40 worse of 1,000: z = 0.02 / sqrt((0.1 - 0.02²) / 1000) = 2.004, two-sided p = 0.045
    baseline = errors(*[1] * 60, *[0] * 40, *[0] * 900, length=1)
    candidate = errors(*[0] * 60, *[1] * 40, *[0] * 900, length=1)
    assert compare(baseline, candidate, 20_000, 5).p_value == pytest.approx(0.045, abs=0.01)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=15))
def test_swapping_the_models_mirrors_the_comparison(utterances):
    first, second = (errors(*side) for side in zip(*utterances, strict=True))
    there, back = compare(first, second, 100, 1), compare(second, first, 100, 1)
    assert there.wer_reduction == pytest.approx(-back.wer_reduction)
    assert there.ci95 == pytest.approx((-back.ci95[1], -back.ci95[0]))
    assert there.p_value == back.p_value
    assert (there.wins, there.losses, there.ties) == (back.losses, back.wins, back.ties)


def test_models_scored_on_other_references_are_not_compared():
    with pytest.raises(ValueError, match="same references"):
        compare(errors(1, 2), errors(1, 2, length=9), 100, 0)
    with pytest.raises(ValueError, match="same references"):
        compare(errors(1, 2), errors(1), 100, 0)
