"""Rooms that decay as fast as set, noises of the right colour, mixtures at the right level."""

import numpy as np
import pytest

from utils.audio.acoustics import (
    NOISE_KINDS,
    active_power,
    colored_noise,
    mix_noise,
    reverberate,
    room_response,
)

RATE = 16_000


def measured_rt60(response: np.ndarray) -> float:
    """From the slope between -5 and -25 dB of Schroeder's backward integral (ISO 3382, T20)."""
    energy = np.cumsum(np.square(response[::-1], dtype=float))[::-1]
    decay = 10 * np.log10(energy / energy[0])
    first, last = int(np.argmax(decay < -5)), int(np.argmax(decay < -25))
    return -60 / np.polyfit(np.arange(first, last) / RATE, decay[first:last], 1)[0]


@pytest.mark.parametrize("rt60", [0.2, 0.4, 0.7, 1.2])
def test_a_room_rings_as_long_as_set(rt60):
    measured = [measured_rt60(room_response(rt60, np.random.default_rng(seed))) for seed in range(20)]
    assert np.median(measured) == pytest.approx(rt60, rel=0.15)
    assert 0.5 * rt60 < min(measured) and max(measured) < 1.6 * rt60


def test_a_room_begins_with_the_direct_sound():
    for seed in range(20):
        response = room_response(0.5, np.random.default_rng(seed))
        assert response.dtype == np.float32
        assert 0.4 < response[0] < 1.6
        assert np.abs(response).argmax() < 160  # nothing later than 10 ms is louder


def test_early_and_late_reflections_join_without_a_step():
    """Energy of 20 ms before and after the place where the image method ends."""
    jumps = []
    for seed in range(60):
        response = room_response(0.6, np.random.default_rng(seed))
        before, after = np.sum(response[480:800] ** 2), np.sum(response[800:1120] ** 2)
        jumps.append(10 * np.log10(after / before))
    assert np.mean(jumps) == pytest.approx(-60 * 0.02 / 0.6, abs=2)  # the decay of 20 ms is 2 dB


def test_reverberation_keeps_time_length_and_level():
    random = np.random.default_rng(0)
    burst = np.zeros(RATE, dtype=np.float32)
    burst[4_000:6_000] = random.standard_normal(2_000)
    found = reverberate(burst, room_response(0.4, random))
    assert found.shape == burst.shape and found.dtype == np.float32
    assert np.abs(found[:4_000]).max() < 1e-4  # nothing before the sound itself
    assert active_power(found) == pytest.approx(active_power(burst), rel=1e-3)
    dry = reverberate(burst, np.array([1.0], dtype=np.float32))
    np.testing.assert_allclose(dry, burst, atol=1e-5)


@pytest.mark.parametrize(("kind", "decibels"), [("white", 0.0), ("pink", -3.01), ("brown", -6.02)])
def test_noise_has_its_color(kind, decibels):
    """Power in octaves from 125 to 4000 Hz; in a constant density an octave has 3 dB more than the last."""
    noise = colored_noise(30 * RATE, kind, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(noise)) ** 2
    hertz = np.fft.rfftfreq(len(noise), 1 / RATE)
    octaves = [10 * np.log10(power[(hertz >= low) & (hertz < 2 * low)].mean()) for low in (125, 500, 2_000)]
    assert np.diff(octaves) / 2 == pytest.approx([decibels] * 2, abs=0.3)


def test_babble_is_shaped_like_speech_and_swells():
    noise = colored_noise(30 * RATE, "babble", np.random.default_rng(0))
    levels = 10 * np.log10(np.mean(noise.reshape(-1, 800) ** 2, axis=1))  # every 50 ms
    white = colored_noise(30 * RATE, "white", np.random.default_rng(0))
    steady = 10 * np.log10(np.mean(white.reshape(-1, 800) ** 2, axis=1))
    assert levels.std() > 3 * steady.std()
    power, hertz = np.abs(np.fft.rfft(noise)) ** 2, np.fft.rfftfreq(len(noise), 1 / RATE)
    assert power[(hertz > 100) & (hertz < 1_000)].sum() > 0.8 * power.sum()


@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_noise_has_about_unit_power_at_any_length(kind):
    powers = [np.mean(colored_noise(8_000, kind, np.random.default_rng(seed)) ** 2) for seed in range(40)]
    assert np.mean(powers) == pytest.approx(1.0, rel=0.3)
    assert colored_noise(1, kind, np.random.default_rng(0)).shape == (1,)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 12.5, 30.0])
def test_the_snr_counts_speech_and_not_pauses(snr_db):
    """Half a second of tone in two seconds: the level of the tone is 6 dB above that of the whole clip."""
    clip = np.zeros(2 * RATE, dtype=np.float32)
    clip[8_000:16_000] = 0.3 * np.sin(2 * np.pi * 500 * np.arange(8_000) / RATE)
    noise = colored_noise(len(clip), "pink", np.random.default_rng(3))
    added = mix_noise(clip, noise, snr_db).astype(float) - clip
    assert 10 * np.log10((0.3**2 / 2) / np.mean(added**2)) == pytest.approx(snr_db, abs=0.02)


def test_a_pause_in_the_noise_is_not_blown_up_and_silence_stays_silent():
    tone = (0.3 * np.sin(np.arange(RATE))).astype(np.float32)
    hum = np.full(RATE, 1e-5, dtype=np.float32)
    added = mix_noise(tone, hum, 0.0, quietest=1e-4) - tone
    assert np.mean(added**2) == pytest.approx(np.mean(tone**2) * 1e-10 / 1e-4, rel=0.05)
    np.testing.assert_array_equal(mix_noise(tone, np.zeros_like(tone), 0.0), tone)
    np.testing.assert_array_equal(mix_noise(np.zeros_like(tone), tone, 0.0), np.zeros_like(tone))
