"""What is refused, by hand-made scores."""

from dataclasses import replace

import pytest

from utils.delivery.parity.measures import Score, WordTiming
from utils.delivery.parity.verdict import RuntimeScores, find_export_faults, find_model_faults
from utils.delivery.runtimes.runtime import Way
from utils.scoring.error_rates import ErrorCounts

PLAIN, WORDS, PREVIOUS = Way(), Way(timestamps=True, words=True), Way(timestamps=True, previous_text=True)


def score(errors: int = 10, way: Way = PLAIN, *, words: int = 1000, **values) -> Score:
    usual = {"on_recordings": True, "loops": 0, "missing": 0.0, "rtfx": 1.0, "timing": None}
    return Score(way=way, errors=ErrorCounts(errors, 0, 0, words), **(usual | values))


def faults(source: Score, export: Score, *, reduced: bool = False) -> list[str]:
    return find_export_faults(
        RuntimeScores("source", [source]), RuntimeScores("there", [export]), reduced=reduced
    )


@pytest.mark.parametrize(
    ("source", "export", "reduced", "refused"),
    [
        (score(10), score(30), False, False),
        (score(10), score(31), False, True),
        (score(10), score(40), True, False),
        (score(10), score(41), True, True),
        (score(1, words=20), score(4, words=20), False, False),  # three errors may be chance
        (score(1, words=20), score(5, words=20), False, True),
        (score(40, words=130), score(49, words=130), False, False),  # 9 errors, of 89: sqrt(89) is 9.4
        (score(40, words=130), score(50, words=130), False, True),
    ],
)
def test_a_rise_of_the_wer_has_a_limit(source, export, reduced, refused):
    assert bool(faults(source, export, reduced=reduced)) is refused


def test_the_message_says_where_and_how_much():
    (told,) = faults(score(10), score(100))
    assert told == "there, recordings, plain: WER 10.0%, source 1.0%"


def test_no_loop_more():
    assert not faults(score(loops=1), score(loops=1))
    assert "loops in 2" in faults(score(loops=1), score(loops=2))[0]


def test_missing_seconds_have_a_limit():
    assert not faults(score(missing=0.01), score(missing=0.04))
    assert "is missing" in faults(score(missing=0.01), score(missing=0.05))[0]


def timed(error: float | None, f1: float) -> Score:
    return score(way=WORDS, timing=WordTiming(error, (f1 / 2, f1)))


@pytest.mark.parametrize(
    ("export", "told"),
    [
        (timed(0.13, 0.9), None),
        (timed(0.15, 0.9), "words 0.15 s"),
        (timed(0.05, 0.56), None),
        (timed(0.05, 0.54), "F1"),
        (timed(None, 0.0), "no times of words"),
        (score(way=WORDS), "no times of words"),
    ],
)
def test_times_of_words_have_a_limit(export, told):
    found = faults(timed(0.05, 0.9), export)
    assert not found if told is None else told in found[0]


def test_estimated_times_are_not_judged():
    source, export = (RuntimeScores("x", [each]) for each in (timed(0.05, 0.9), timed(3.0, 0.1)))
    assert find_export_faults(source, export, reduced=False)
    assert not find_export_faults(source, export, reduced=False, rough_times=True)
    worse = RuntimeScores("x", [replace(timed(3.0, 0.1), loops=1)])
    assert find_export_faults(source, worse, reduced=False, rough_times=True)


def test_a_source_without_times_asks_for_none():
    assert not faults(timed(None, 0.0), timed(3.0, 0.0))


def test_ways_that_one_side_lacks_are_not_compared():
    assert not faults(score(10, PREVIOUS), score(900, PLAIN))
    assert not faults(score(10, WORDS), score(900, PREVIOUS))
    assert not faults(score(10, WORDS), score(900, PLAIN, on_recordings=False))


@pytest.mark.parametrize("way", [PLAIN, Way(timestamps=True)])
def test_words_of_the_source_stand_for_its_other_texts(way):
    assert faults(timed(0.05, 0.9), score(10, way)) == []
    assert "WER 90.0%" in faults(timed(0.05, 0.9), score(900, way))[0]
    both = RuntimeScores("source", [score(10, WORDS), score(20, way)])
    assert both.find(way, True).errors.errors == 20


def test_a_runtime_that_failed_is_a_fault():
    found = find_export_faults(
        RuntimeScores("source", [score()]), RuntimeScores("there", [], "it crashed"), reduced=False
    )
    assert found == ["there: it crashed"]


def model_faults(*scores: Score) -> list[str]:
    return find_model_faults(RuntimeScores("source", scores))


def test_a_model_that_loops_on_recordings_alone_is_refused_with_the_cure():
    on_clips = score(way=Way(timestamps=True), on_recordings=False)
    assert not model_faults(on_clips, score(way=WORDS))
    (told,) = model_faults(on_clips, score(way=WORDS, loops=1))
    assert "--stitch_probability" in told and "--timestamp_probability" in told and "loops in 1" in told
    (told,) = model_faults(on_clips, score(way=PREVIOUS, loops=2))
    assert "--condition_on_prev_probability" in told


def test_a_model_that_loops_on_clips_too_shows_it_there():
    on_clips = replace(score(), on_recordings=False, loops=1)
    assert not model_faults(on_clips, score(loops=1))


def test_a_model_that_leaves_a_fifth_of_recordings_out_is_refused():
    on_clips = replace(score(), on_recordings=False)
    assert not model_faults(on_clips, score(missing=0.19))
    assert "21% of the speech is missing" in model_faults(on_clips, score(missing=0.21))[0]
    assert not model_faults(replace(on_clips, missing=0.3), score(missing=0.25))
