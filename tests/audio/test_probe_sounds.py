"""Sounds without speech: their levels and shapes."""

import numpy as np
import pytest

from utils.audio.probe_sounds import build_sounds, ringing


def test_every_kind_of_sound_comes_in_every_duration_and_never_clips_over():
    sounds = build_sounds([0.5, 2.0], seed=0)
    kinds = [sound.kind for sound in sounds]
    assert len(sounds) == 20 and all(kinds.count(kind) == 2 for kind in kinds)
    assert [sound.duration for sound in sounds] == [0.5, 2.0] * 10
    assert all(np.abs(sound.samples).max() <= 1.0 for sound in sounds)
    levels = {sound.kind: np.sqrt(np.mean(sound.samples**2)) for sound in sounds if sound.duration == 2.0}
    assert levels["silence"] == 0
    assert 20 * np.log10(levels["floor"]) == pytest.approx(-75, abs=0.5)
    assert 20 * np.log10(levels["white"]) == pytest.approx(-35, abs=0.5)
    assert all(20 * np.log10(levels[kind]) > -45 for kind in ("hum", "knocks", "ringing", "tune"))


def test_the_ringing_is_of_425_hertz_one_second_in_five():
    samples = ringing(160_000, np.random.default_rng(0))
    assert np.argmax(np.abs(np.fft.rfft(samples))) == 4250  # 10 s
    assert np.mean(samples != 0) == pytest.approx(0.2, abs=0.01)
