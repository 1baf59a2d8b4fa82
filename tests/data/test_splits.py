"""Splits: no speaker, recording or sentence in two of them, whatever the order, and fair where possible."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.data.grouping import LEVELS, TEST, TRAIN, VALIDATION, Keys, count_shared, join_groups, text_key
from utils.data.selection import assign_splits, draw_fraction
from utils.data.utterance import Reject, Utterance
from utils.runtime.problems import Problem

UNKNOWN = -1


def keys(texts, speakers=None, recordings=None, seed=0):
    unknown = [UNKNOWN] * len(texts)
    arrays = (speakers or unknown, recordings or unknown, [text_key(text, seed) for text in texts])
    return Keys(*(np.array(values, dtype=np.int64) for values in arrays))


def assign(known, given_splits=None, validation=0.1, test=0.2, **options):
    none_given = [UNKNOWN] * len(known.text) if given_splits is None else given_splits
    shares = {"validation_share": validation, "test_share": test}
    return assign_splits(known, np.array(none_given, dtype=np.int8), **shares, **options)


def without_leaks(known, result):
    kept = np.setdiff1d(np.arange(len(known.text)), list(result.leaks))
    return Keys(known.speaker[kept], known.recording[kept], known.text[kept]), result.splits[kept]


def test_shares_by_hand():
    result = assign(keys([f"sentence {n}" for n in range(100)]))
    assert np.bincount(result.splits).tolist() == [70, 10, 20]
    assert (result.split_by, result.leaks, result.notes) == ("text", {}, ())


def test_another_seed_draws_other_splits():
    texts = [f"sentence {n}" for n in range(100)]
    drawn = {tuple(assign(keys(texts, seed=seed)).splits) for seed in (0, 1, 2)}
    assert len(drawn) == 3
    assert all(np.bincount(splits).tolist() == [70, 10, 20] for splits in drawn)


def test_equal_texts_stay_together():
    known = keys(["the same"] * 30 + [f"sentence {n}" for n in range(70)])
    assert len(set(assign(known).splits[:30].tolist())) == 1


def test_speakers_stay_together_where_they_are_known():
    speakers = [n // 5 for n in range(200)]
    known = keys([f"sentence {n}" for n in range(200)], speakers)
    result = assign(known)
    assert result.split_by == "speaker" and not result.leaks
    assert count_shared(known, result.splits)["speaker"] == 0
    assert np.bincount(result.splits).tolist() == [140, 20, 40]


def test_sentences_that_all_speakers_read_do_not_tie_everything_together():
    speakers = [n // 10 for n in range(400)]
    texts = ["yes" if n % 10 == 0 else f"sentence {n}" for n in range(400)]
    known = keys(texts, speakers)
    result = assign(known)
    assert result.split_by == "speaker"
    assert all(texts[index] == "yes" for index in result.leaks)
    rest, splits = without_leaks(known, result)
    assert count_shared(rest, splits) == {"speaker": 0, "recording": 0, "text": 0}


def test_one_speaker_is_split_by_recording_and_told():
    known = keys([f"s {n}" for n in range(100)], [7] * 100, [n // 4 for n in range(100)])
    result = assign(known)
    assert result.split_by == "recording"
    assert count_shared(known, result.splits)["recording"] == 0
    assert len(result.notes) == 1 and "speaker" in result.notes[0]


def test_given_splits_are_kept_and_what_leaks_leaves_train():
    texts = ["a", "b", "c", "leak", "d", "leak", "e", "e"]
    given_splits = [TRAIN] * 5 + [TEST, TEST, VALIDATION]
    result = assign(keys(texts), given_splits)
    assert result.splits.tolist() == given_splits and result.split_by is None
    assert result.leaks == {3: Problem("leak", "its text is also in test")}
    assert len(result.notes) == 1  # the only clip of validation is in test too: too much to leave out
    assert "1 utterances of validation have a text that is also in test" in result.notes[0]


def test_as_original_leaves_leaks_in():
    result = assign(keys(["a", "b", "a"]), [TRAIN, VALIDATION, TEST], as_original=True)
    assert (result.leaks, result.splits.tolist()) == ({}, [TRAIN, VALIDATION, TEST])


def test_a_speaker_who_is_everywhere_is_told_not_left_out():
    known = keys([f"s {n}" for n in range(20)], [1] * 20)
    result = assign(known, [TRAIN] * 14 + [VALIDATION] * 2 + [TEST] * 4)
    assert not result.leaks
    assert any(
        "speaker" in note and "error rates will look better than they are" in note for note in result.notes
    )


def test_only_the_lacking_split_is_cut_off():
    result = assign(keys([f"s {n}" for n in range(100)]), [TEST] * 10 + [UNKNOWN] * 90)
    assert (result.splits[:10] == TEST).all() and not (result.splits[10:] == TEST).any()
    assert (result.splits == VALIDATION).sum() == 9


def test_ties_join_directly_and_through_others():
    speakers, recordings = np.array([1, 1, 2, 3, -1, -1]), np.array([-1, 5, 5, -1, -1, -1])
    assert join_groups([speakers, recordings]).tolist() == [0, 0, 0, 3, 4, 5]


CORPORA = st.lists(
    st.tuples(st.integers(-1, 12), st.integers(-1, 20), st.integers(0, 60)), min_size=1, max_size=150
)


@settings(max_examples=150, deadline=None)
@given(CORPORA, st.integers(0, 5))
def test_nothing_is_shared_at_the_level_that_is_told(rows, seed):
    known = keys([f"text {text}" for *_, text in rows], [s for s, *_ in rows], [r for _, r, _ in rows], seed)
    result = assign(known)
    rest, splits = without_leaks(known, result)
    shared = count_shared(rest, splits)
    assert (splits == TRAIN).any()
    if result.split_by is not None:
        assert all(shared[level] == 0 for level in LEVELS[LEVELS.index(result.split_by) :])


@settings(max_examples=50, deadline=None)
@given(CORPORA, st.randoms())
def test_the_order_of_the_utterances_does_not_matter(rows, random):
    texts = [f"text {text}" for *_, text in rows]
    order = list(range(len(rows)))
    random.shuffle(order)
    straight = assign(keys(texts)).splits
    shuffled = assign(keys([texts[index] for index in order])).splits
    assert shuffled.tolist() == straight[order].tolist()


def test_a_fraction_is_drawn_by_seed_and_id_alone():
    items = [Utterance(f"u{n}", b"", "x", "s", n, split="test" if n % 2 else "train") for n in range(4000)]
    drawn = [item.id for item in draw_fraction(items, 0.6, test_fraction=0.3, seed=1)]
    shuffled = {item.id for item in draw_fraction(items[::-1], 0.6, test_fraction=0.3, seed=1)}
    assert set(drawn) == shuffled
    by_split = [sum(int(name[1:]) % 2 == odd for name in drawn) / 2000 for odd in (0, 1)]
    assert by_split == pytest.approx([0.6, 0.3], abs=0.03)
    assert {i.id for i in draw_fraction(items, 0.6, test_fraction=0.3, seed=2)} != set(drawn)


def test_rejects_are_never_drawn_away():
    rejects = [Reject("s", n, Problem("empty text", "nothing")) for n in range(20)]
    assert list(draw_fraction(rejects, 0.01, test_fraction=0.01, seed=0)) == rejects
