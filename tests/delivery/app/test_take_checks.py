"""Checks of takes on real prompts that were made quiet, loud, cut, empty or wrong."""

import numpy as np
import pytest

from utils.audio.flac import SAMPLE_RATE
from utils.delivery.app.take_checks import DOUBTFUL, check_take


@pytest.fixture(scope="module")
def takes(italian_prompts) -> list[tuple[np.ndarray, str]]:
    """Prompts as a speaker records them: half a second of a quiet room at both ends."""
    return [(in_a_room(samples), text) for samples, text in italian_prompts]


def in_a_room(samples: np.ndarray) -> np.ndarray:
    room = np.random.default_rng(1).normal(scale=3e-4, size=len(samples) + SAMPLE_RATE)
    room[SAMPLE_RATE // 2 : -SAMPLE_RATE // 2] += samples
    return room.astype(np.float32)


def kind_of(samples: np.ndarray, text: str) -> str | None:
    problem = check_take(samples.astype(np.float32), text)
    return problem and problem.kind


def test_good_takes_pass(takes):
    assert [kind_of(*take) for take in takes] == [None] * 8
    assert [kind_of(samples / 8, text) for samples, text in takes[1:3]] == [None] * 2  # 18 dB quieter


def test_level_and_clipping(takes):
    samples, text = takes[0]
    assert kind_of(samples * 0.01, text) == "too quiet"
    assert kind_of(np.clip(samples * 8, -1, 1), text) == "too loud"
    assert kind_of(0.3 * np.clip(samples * 8, -1, 1), text) == "too loud"  # turned down afterwards
    assert kind_of(np.zeros(SAMPLE_RATE), text) == "no sound"
    assert kind_of(samples + 0.2, text) == "DC offset"


def test_noise_is_no_speech(takes):
    noise = np.random.default_rng(2).normal(scale=0.03, size=3 * SAMPLE_RATE)
    assert kind_of(noise, takes[0][1]) == "no speech"


def test_cut_takes_are_found(takes):
    """A quarter of a second of the speech is missing at one end."""
    most = SAMPLE_RATE * 3 // 4  # a half is silence
    ends = [kind_of(samples[:-most], text) for samples, text in takes[1:5]]
    starts = [kind_of(samples[most:], text) for samples, text in takes[1:5]]
    assert ends == ["cut at the end"] * 4 and starts == ["cut at the start"] * 4


def test_text_and_duration_must_fit(takes):
    samples, text = takes[1]  # two words
    assert kind_of(samples, f"{text} {takes[0][1]}") == "too short"
    assert kind_of(takes[0][0], "Sì.") == "too long for the sentence"
    assert kind_of(np.tile(takes[0][0], 6), " ".join([takes[0][1]] * 6)) == "too long"
    chinese = "请输入您的号码"  # 7 syllables in 5.6 s; so few letters would be read too slowly
    assert kind_of(takes[0][0], chinese) is None


def test_only_what_may_be_a_good_take_can_be_kept():
    assert {"cut at the start", "cut at the end", "too short", "too long for the sentence"} == DOUBTFUL
