"""Segments counted by hand, sc_stats on the same alignments, and how often two equal models differ."""

import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.sclite import (
    align_with_sclite,
    compare_with_sc_stats,
    count_edits,
    draw_hypotheses,
    draw_references,
    read_alignments,
    write_alignments,
)
from utils.scoring.model_comparison import SegmentTest, compare, find_segments, mapsswe
from utils.scoring.word_alignment import Edit, align_words

NAMES = {"=": "equal", "S": "substitute", "I": "insert", "D": "delete"}
texts = st.lists(st.sampled_from(["a", "b", "c"]), max_size=12).map(" ".join)


def steps(letters: str) -> list[str]:
    return [NAMES[letter] for letter in letters]


def operations(alignments: list) -> list[list[str]]:
    return [[edit[0] for edit in edits] for edits in alignments]


@pytest.mark.parametrize(
    ("baseline", "candidate", "expected"),
    [
        ("=====", "=====", []),
        ("==S==", "=====", [(1, 0)]),
        ("S==S", "====", [(1, 0), (1, 0)]),  # two words right in both stand between
        ("S=S=", "====", [(2, 0)]),  # one word does not part
        ("S==S", "=D==", [(2, 1)]),  # of the two words one is wrong for the candidate
        ("S=I=S", "====", [(3, 0)]),  # an insertion stands between the two
        ("S==D", "=I==I=", [(1, 1), (1, 1)]),
        ("==I", "==I", [(1, 1)]),
        ("I==I", "==", [(1, 0), (1, 0)]),
        ("=S", "S=", [(1, 1)]),
        ("II", "", [(2, 0)]),  # an empty reference
        ("", "", []),
    ],
)
def test_segments_by_hand(baseline, candidate, expected):
    assert find_segments(steps(baseline), steps(candidate)) == expected
    assert find_segments(steps(candidate), steps(baseline)) == [(b, a) for a, b in expected]


def test_other_references_are_not_compared():
    with pytest.raises(ValueError, match="same reference"):
        find_segments(steps("=="), steps("==="))
    with pytest.raises(ValueError):
        mapsswe([steps("==")], [])


@given(st.lists(st.tuples(texts, texts, texts), max_size=6))
def test_every_error_is_in_one_segment(utterances):
    for reference, first, second in utterances:
        alignments = align_words(reference, first), align_words(reference, second)
        segments = find_segments(*operations(list(alignments)))
        errors = tuple(count_edits(alignment).errors for alignment in alignments)
        assert (sum(a for a, _ in segments), sum(b for _, b in segments)) == errors
        assert all(a or b for a, b in segments)


def test_figures_that_nist_publishes():
    # sctk's own test 1a of sc_stats: src/sclite/testdata/file1.sgml, file2.sgml and base_sc_stats
    first, second = ["I", "=DS=SSS==D=II"], ["", "=DS=SSS==SS"]
    outcome = mapsswe(map(steps, first), map(steps, second))
    assert outcome.num_segments == 3
    assert [round(x, 3) for x in (outcome.mean, outcome.standard_deviation, outcome.z)] == [0.667, 0.577, 2.0]
    assert outcome.p_value == pytest.approx(0.0455, abs=0.00005)  # of a normal variable 2 or more off
    back = mapsswe(map(steps, second), map(steps, first))
    assert (back.mean, back.z, back.p_value) == (-outcome.mean, -outcome.z, outcome.p_value)


def test_no_difference():
    assert mapsswe([], []) == SegmentTest(0, 0.0, 0.0, 0.0, 1.0)
    assert mapsswe([steps("=S=")] * 5, [steps("=S=")] * 5) == SegmentTest(5, 0.0, 0.0, 0.0, 1.0)


def test_the_same_difference_in_every_segment_is_a_sign_test():
    # six heads of six coins, either way: 2 / 64
    outcome = mapsswe([steps("=S=")] * 6, [steps("===")] * 6)
    assert (outcome.z, outcome.p_value) == (math.inf, 2 / 64)
    assert mapsswe([steps("===")], [steps("=S=")]).p_value == 1  # one segment shows nothing


@pytest.mark.parametrize(
    ("size", "rates"),
    [(40, [0.1]), (300, [0, 0.05, 0.1]), (300, [0.8]), (1000, [0, 0.05, 0.1, 0.2, 0.4, 0.8])],
)
def test_equal_to_sc_stats(size, rates, require_program, tmp_path: Path):
    sctk = require_program("sctk")
    references = draw_references(size, seed=size)
    hypotheses = [draw_hypotheses(references, seed, rates) for seed in (1, 2)]
    # a third model that is a little worse than the first
    again = random.Random(3)
    hypotheses.append([" ".join(w for w in text.split() if again.random() > 0.02) for text in hypotheses[0]])
    titles = "first", "second", "third"
    theirs = [
        align_with_sclite(sctk, references, texts, tmp_path, title)
        for title, texts in zip(titles, hypotheses, strict=True)
    ]
    ours = [
        write_alignments(list(map(align_words, references, texts)), tmp_path / f"{title}-ours.sgml")
        for title, texts in zip(titles, hypotheses, strict=True)
    ]
    for files in (theirs, ours):
        for one, other in ((0, 1), (2, 0), (1, 2)):
            expected = compare_with_sc_stats(sctk, files[one], files[other])
            outcome = mapsswe(*(operations(read_alignments(files[index])) for index in (one, other)))
            assert outcome.num_segments == expected["num_segments"]
            printed = [f"{value:.3f}" for value in (outcome.mean, outcome.standard_deviation, outcome.z)]
            names = "mean", "standard_deviation", "z"
            assert printed == [f"{expected[name]:.3f}" for name in names]
            assert (outcome.p_value < 0.05) == expected["is_different"]
            # it looks the probability up in a table of z by hundredths, and takes the lower entry
            table = math.erfc(max(abs(outcome.z) - 0.01, 0) / math.sqrt(2))
            assert outcome.p_value - 0.0006 <= expected["p_value"] <= table + 0.0006


def test_the_choice_among_shortest_alignments_hardly_moves_the_test(require_program, tmp_path: Path):
    sctk = require_program("sctk")
    references = draw_references(2500, seed=11)
    outcomes = []
    for seed in (1, 2):
        texts = draw_hypotheses(references, seed)
        aligned = read_alignments(align_with_sclite(sctk, references, texts, tmp_path, f"model{seed}"))
        outcomes.append((operations(list(map(align_words, references, texts))), operations(aligned)))
    ours, theirs = (mapsswe(*sides) for sides in zip(*outcomes, strict=True))
    print(f"num_segments {ours.num_segments} and {theirs.num_segments}, z {ours.z:.3f} and {theirs.z:.3f}")
    assert ours.num_segments == pytest.approx(theirs.num_segments, rel=0.03)
    assert ours.z == pytest.approx(theirs.z, abs=0.05)


@pytest.mark.parametrize(("rates", "least", "most"), [([0.1], 30, 70), ([0, 0.1, 0.2], 50, 110)])
def test_two_equal_models_differ_in_about_5_of_100_resamplings(rates, least, most):
    # Swapped at random, the two are equal whatever they are. The test counts on errors of different segments
    # being independent; where one model fails on whole utterances that the other gets right, as in the
    # second case with a rate drawn for each utterance and model, it finds a little too much.
    references = draw_references(3000, seed=5)
    sides = [
        operations(list(map(align_words, references, draw_hypotheses(references, seed, rates))))
        for seed in (6, 7)
    ]
    pairs = list(zip(*sides, strict=True))
    generator = random.Random(8)
    found = 0
    for _ in range(1000):
        drawn = [pair if generator.random() < 0.5 else pair[::-1] for pair in generator.sample(pairs, 150)]
        found += mapsswe(*zip(*drawn, strict=True)).p_value < 0.05
    print(f"{found} of 1,000 with error rates {rates}")
    assert least <= found <= most


def test_compare_takes_the_test_from_alignments():
    baseline = [align_words("a b c", "x b c"), *[align_words("a", "b")] * 6]
    candidate = [align_words("a b c", "x b c"), *[align_words("a", "a")] * 6]
    counts = [[count_edits(alignment) for alignment in side] for side in (baseline, candidate)]
    outcome = compare(*counts, samples=200, seed=0, alignments=(baseline, candidate))
    # seven segments with differences 0, 1, 1, 1, 1, 1, 1: mean 6/7, variance 1/7, so z = 6
    assert outcome.test == "MAPSSWE"
    assert outcome.p_value == pytest.approx(math.erfc(6 / math.sqrt(2)))
    assert (outcome.wins, outcome.losses, outcome.ties) == (6, 0, 1)
    assert baseline[0][0] == Edit("substitute", "a", "x")
