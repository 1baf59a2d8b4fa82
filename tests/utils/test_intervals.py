"""Who is drawn, worked examples, and how often the intervals hold the truth in simulated corpora."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.intervals import bootstrap_ratio, choose_clusters


def labels(distinct: int, size: int, unknown: int = 0) -> list[str | None]:
    return [*(f"s{index % distinct}" for index in range(size - unknown)), *[None] * unknown]


@pytest.mark.parametrize(
    ("speakers", "recordings", "unit"),
    [
        (labels(20, 100), labels(50, 100), "speaker"),
        (labels(19, 100), labels(20, 100), "recording"),
        (labels(19, 100), labels(19, 100), "utterance"),
        (labels(19, 100), labels(100, 100), "utterance"),  # a file each
        (labels(30, 100, unknown=10), None, "speaker"),
        (labels(30, 100, unknown=11), None, "utterance"),
        (labels(30, 100, unknown=11), labels(20, 100), "recording"),
        (None, None, "utterance"),
        ([], [], "utterance"),
        ([None] * 100, [None] * 100, "utterance"),
    ],
)
def test_speakers_are_drawn_before_recordings_before_utterances(speakers, recordings, unit):
    chosen, by = choose_clusters(speakers, recordings)
    assert chosen == unit
    assert by == {"speaker": speakers, "recording": recordings, "utterance": None}[unit]


def test_clusters_are_drawn_whole():
    # Two recordings of three utterances, all wrong or all right: a resample has 0, 1 or 2 of the wrong one.
    outcome = bootstrap_ratio(np.array([1, 1, 1, 0, 0, 0]), np.ones(6, int), 400, 0, ["a"] * 3 + ["b"] * 3)
    assert set(outcome.ratios) == {0.0, 0.5, 1.0}
    # half of such resamples are of one recording, and know no spread: their percentiles are the range
    assert (outcome.ratio, outcome.ci95) == (0.5, (0.0, 1.0))


def test_utterances_without_label_are_clusters_of_their_own():
    errors, words = np.arange(40) % 7, np.full(40, 10)
    alone = bootstrap_ratio(errors, words, 500, 3)
    assert bootstrap_ratio(errors, words, 500, 3, [None] * 40).ci95 == alone.ci95
    assert bootstrap_ratio(errors, words, 500, 3, [str(i) for i in range(40)]).ci95 == alone.ci95
    pairs = [None, None, *(str(i // 2) for i in range(2, 40))]
    assert bootstrap_ratio(errors, words, 500, 3, pairs).ci95 != alone.ci95


def test_labels_and_utterances_must_be_as_many():
    with pytest.raises(ValueError, match="1 labels for 2 utterances"):
        bootstrap_ratio(np.ones(2, int), np.ones(2, int), 10, 0, ["a"])


def test_speakers_that_differ_widen_the_interval_by_the_design_effect():
    # 40 speakers of 25 one-word utterances: a speaker's are all wrong or all right, so that 1,000 utterances
    # tell as much as 40, and the interval is 5 times as wide (Kish's design effect of 25)
    errors = np.repeat(np.arange(40) % 4 == 0, 25).astype(int)
    speakers = [f"s{index // 25}" for index in range(1000)]
    words = np.ones(1000, int)
    narrow, wide = (
        np.subtract(*bootstrap_ratio(errors, words, 4000, 1, by).ci95[::-1]) for by in (None, speakers)
    )
    assert wide / narrow == pytest.approx(5, rel=0.15)


def test_of_equally_long_units_it_is_the_bootstrap_t_of_the_mean():
    """Efron and Tibshirani 1993, 12.5, step by step, with textbook variances over n - 1 and other draws.

    Six units, so that n for n - 1 would make the interval narrower or wider by a tenth; and skewed to the
    right, where the rare resamples without the large unit have little spread, so that it reaches far up.
    """
    errors = np.array([13, 105, 240, 287, 391, 1270])
    words, n = 2000, len(errors)
    low, high = bootstrap_ratio(errors, np.full(n, words), 40_000, 0).ci95
    rates = errors / words
    mean, error = rates.mean(), rates.std(ddof=1) / math.sqrt(n)
    resamples = np.random.default_rng(7).choice(rates, (40_000, n))
    with np.errstate(divide="ignore", invalid="ignore"):  # one unit six times
        off = (resamples.mean(axis=1) - mean) / (resamples.std(axis=1, ddof=1) / math.sqrt(n))
    lower, upper = np.percentile(off[~np.isnan(off)], [2.5, 97.5])
    assert high - mean == pytest.approx(-lower * error, rel=0.03)
    assert mean - low == pytest.approx(upper * error, rel=0.03)
    assert high - mean > 2 * (mean - low)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-9, 9), st.integers(0, 9)), min_size=1, max_size=30), st.integers(0, 99)
)
def test_every_interval_is_finite_and_has_the_ratio_in_it(utterances, seed):
    numerators, denominators = np.array(utterances).T
    outcome = bootstrap_ratio(numerators, denominators, 100, seed)
    assert all(map(math.isfinite, outcome.ci95)) and outcome.ci95[0] <= outcome.ratio <= outcome.ci95[1]
    mirrored = bootstrap_ratio(-numerators, denominators, 100, seed)
    assert mirrored.ci95 == pytest.approx((-outcome.ci95[1], -outcome.ci95[0]))


def simulate_speakers(
    generator: np.random.Generator, speakers: int, wer: float, variation: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Speakers of very different numbers of utterances of very different length, each with its own WER.

    Args:
        generator: Source of chance.
        speakers: Their number.
        wer: The mean of their WER; also the corpus's, as nothing else depends on it.
        variation: Standard deviation of the speakers' WER over its mean.

    Returns:
        Of every utterance: its speaker, words, errors, and the errors that a better model makes of them,
        three quarters on average, more for some speakers.
    """
    sizes = np.maximum(1, generator.lognormal(math.log(15), 0.7, speakers).round()).astype(int)
    speaker = np.repeat(np.arange(speakers), sizes)
    words = np.maximum(1, generator.lognormal(math.log(8), 0.7, speaker.size).round()).astype(int)
    total = (1 - wer) / wer / variation**2 - 1
    rates = generator.beta(wer * total, (1 - wer) * total, speakers).clip(1e-6, 1 - 1e-6)[speaker]
    errors = generator.binomial(words, generator.beta(4 * rates, 4 * (1 - rates)))
    return speaker, words, errors, generator.binomial(errors, generator.beta(6, 2, speakers)[speaker])


@pytest.mark.slow
@pytest.mark.parametrize("speakers", [20, 30, 100])
@pytest.mark.parametrize("variation", [0.5, 0.7])
def test_intervals_over_speakers_hold_the_truth_95_times_in_100(speakers, variation):
    generator = np.random.default_rng(speakers)
    wer, trials = 0.2, 2000
    held = {"wer": 0, "reduction": 0, "percentiles": 0, "over utterances": 0}
    for trial in range(trials):
        speaker, words, errors, fewer = simulate_speakers(generator, speakers, wer, variation)
        names = [str(number) for number in speaker]
        level = bootstrap_ratio(errors, words, 1000, trial, names)
        percentiles = np.percentile(level.ratios, [2.5, 97.5])
        reduction = bootstrap_ratio(errors - fewer, words, 1000, trial, names).ci95
        held["wer"] += level.ci95[0] <= wer <= level.ci95[1]
        held["reduction"] += reduction[0] <= wer / 4 <= reduction[1]
        held["percentiles"] += percentiles[0] <= wer <= percentiles[1]
        if trial % 8 == 0:  # far from the truth: fewer trials tell
            low, high = bootstrap_ratio(errors, words, 200, trial).ci95
            held["over utterances"] += 8 * (low <= wer <= high)
    print(speakers, variation, {name: f"{100 * count / trials:.1f} %" for name, count in held.items()})
    assert 0.93 <= held["wer"] / trials <= 0.97
    assert 0.93 <= held["reduction"] / trials <= 0.97
    assert held["percentiles"] < held["wer"]
    assert held["over utterances"] < 0.9 * trials
