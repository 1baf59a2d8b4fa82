"""Augmented clips: the same from the same seed anywhere, as long as promised, and changed as much as set."""

import math
import multiprocessing
import pickle
import typing
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.audio import augmentation_checks
from utils.audio.augmentation import augment, change_speed, draw_speed, num_samples_at_speed
from utils.audio.augmentation_checks import check_sounds
from utils.audio.augmentation_options import Augmentation, CodecName
from utils.audio.codecs import CODECS
from utils.runtime.errors import UserError

RATE = 16_000
EVERYTHING = Augmentation(
    speed_factors=(0.9, 1.0, 1.1),
    reverb_probability=0.5,
    noise_probability=0.5,
    gain_probability=0.5,
    codec_probability=0.5,
)


@pytest.fixture(scope="module")
def speech(italian_prompts) -> np.ndarray:
    """(samples,) of one real prompt."""
    return italian_prompts[0][0]


@pytest.fixture(scope="module")
def noises(tmp_path_factory):
    """A folder of two recordings: one of 1 s at 8 kHz stereo, a longer one in a folder of its own."""
    folder = tmp_path_factory.mktemp("noises")
    random = np.random.default_rng(1)
    soundfile.write(folder / "short.wav", 0.1 * random.standard_normal((8_000, 2)), 8_000)
    (folder / "street").mkdir()
    soundfile.write(folder / "street" / "long.flac", 0.05 * random.standard_normal(160_000), RATE)
    (folder / "README.txt").write_text("no audio")
    return folder


def vary(samples: np.ndarray, augmentation: Augmentation, *seed: int) -> np.ndarray:
    return augment(change_speed(samples, draw_speed(augmentation, seed)), augmentation, seed=seed)


def _vary_all(task: tuple[np.ndarray, Augmentation, list[int]]) -> list[bytes]:
    samples, augmentation, clips = task
    return [vary(samples, augmentation, 42, 0, clip).tobytes() for clip in clips]


# ---- seeds -------------------------------------------------------------------------------------------------


def test_the_default_changes_nothing(speech):
    assert vary(speech, Augmentation(), 1, 2, 3) is speech


def test_another_process_in_another_order_gives_the_same_samples(speech, noises):
    augmentation = replace(EVERYTHING, noise_dir=str(noises))
    clips = list(range(12))
    here = _vary_all((speech, augmentation, clips))
    np.random.seed(0)  # the global state has no part in it
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.map(_vary_all, [(speech, augmentation, clips[::-1])])[0]
    assert there[::-1] == here
    assert len(set(here)) > 6


def test_seed_epoch_and_clip_each_change_the_draw(speech):
    always = Augmentation(noise_probability=1.0)
    results = {vary(speech, always, *seed).tobytes() for seed in [(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1)]}
    assert len(results) == 4


def test_switching_one_on_leaves_the_draws_of_the_others(speech):
    noise = Augmentation(noise_probability=1.0)
    quiet = replace(noise, gain_probability=1.0, gain_db=(-20.0, -20.0))
    np.testing.assert_allclose(vary(speech, quiet, 5, 0, 0), 0.1 * vary(speech, noise, 5, 0, 0), atol=1e-6)


@pytest.mark.parametrize(("kind", "stream"), [("reverb", 2), ("noise", 3), ("gain", 4), ("codec", 5)])
def test_each_kind_draws_from_a_stream_of_its_own(kind, stream):
    """By numbers that must not change; 1 is that of speeds, 6 and 7 are those of windows and masks."""
    half = Augmentation(**{f"{kind}_probability": 0.5}, gain_db=(-6.0, -6.0), codecs=("ulaw",))
    tone = (0.4 * np.sin(np.arange(200) * 0.1)).astype(np.float32)
    happened = [not np.array_equal(vary(tone, half, 7, 0, clip), tone) for clip in range(60)]
    expected = [np.random.default_rng((stream, 7, 0, clip)).random() < 0.5 for clip in range(60)]
    assert happened == expected


def test_speeds_draw_from_a_stream_of_their_own():
    found = [draw_speed(EVERYTHING, (7, 0, clip)) for clip in range(60)]
    drawn = [int(np.random.default_rng((1, 7, 0, clip)).integers(3)) for clip in range(60)]
    assert found == [(0.9, 1.0, 1.1)[number] for number in drawn]


def test_the_input_stays_as_it_is(speech):
    before = speech.copy()
    for clip in range(6):
        vary(speech, EVERYTHING, 0, 0, clip)
    np.testing.assert_array_equal(speech, before)


def test_it_travels_to_workers():
    assert pickle.loads(pickle.dumps(EVERYTHING)) == EVERYTHING
    assert len(pickle.dumps(EVERYTHING)) < 2_000


def test_each_happens_as_often_as_set():
    often = Augmentation(gain_probability=0.3, gain_db=(-6.0, -6.0))
    short = np.full(100, 0.5, dtype=np.float32)
    hits = sum(vary(short, often, 0, 0, clip)[0] < 0.5 for clip in range(2_000))
    assert 540 < hits < 660  # 600, three standard deviations of 20.5
    factors = [draw_speed(EVERYTHING, (0, 0, clip)) for clip in range(3_000)]
    assert all(900 < factors.count(factor) < 1_100 for factor in (0.9, 1.0, 1.1))


# ---- what comes out ----------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    num_samples=st.integers(1, 9_000),
    amplitude=st.sampled_from([0.0, 1e-6, 0.3, 1.0]),
    seed=st.tuples(st.integers(0, 2**63), st.integers(0, 1_000), st.integers(0, 10**9)),
)
def test_any_clip_stays_finite_within_range_and_as_long_as_promised(num_samples, amplitude, seed):
    random = np.random.default_rng(num_samples)
    samples = (amplitude * np.clip(random.standard_normal(num_samples), -1, 1)).astype(np.float32)
    always = replace(
        EVERYTHING, reverb_probability=1.0, noise_probability=1.0, gain_probability=1.0, codec_probability=1.0
    )
    speed = draw_speed(always, seed)
    found = augment(change_speed(samples, speed), always, seed=seed)
    assert found.dtype == np.float32
    assert found.shape == (max(round(num_samples / speed), 0),)
    assert np.isfinite(found).all()
    assert not found.size or np.abs(found).max() <= 1.0


def test_what_is_too_loud_is_scaled_not_clipped():
    tone = np.sin(np.arange(RATE) * 0.1).astype(np.float32)
    loud = vary(tone, Augmentation(gain_probability=1.0, gain_db=(20.0, 20.0)), 0)
    np.testing.assert_allclose(loud, tone / np.abs(tone).max(), atol=1e-6)


@pytest.mark.parametrize("db", [-12.0, 3.0])
def test_gain_is_in_decibels(db):
    tone = (0.1 * np.sin(np.arange(RATE) * 0.1)).astype(np.float32)
    found = vary(tone, Augmentation(gain_probability=1.0, gain_db=(db, db)), 0)
    assert 20 * np.log10(found.std() / tone.std()) == pytest.approx(db, abs=1e-3)


# ---- speed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", [0.5, 0.9, 1.1, 1.237, 2.0])
def test_a_tone_gets_higher_by_the_factor_and_shorter_by_it(speed):
    tone = np.sin(2 * np.pi * 1_000 * np.arange(2 * RATE) / RATE).astype(np.float32)
    found = change_speed(tone, speed)
    assert len(found) == round(2 * RATE / speed)
    spectrum = np.abs(np.fft.rfft(found * np.hanning(len(found)), 1 << 20))
    assert spectrum.argmax() * RATE / (1 << 20) == pytest.approx(1_000 * speed, abs=0.5)


@given(num_samples=st.integers(1, 5_000), speed=st.floats(0.5, 2.0))
@settings(deadline=None)
def test_the_length_is_the_one_foretold(num_samples, speed):
    found = change_speed(np.zeros(num_samples, dtype=np.float32), speed)
    assert len(found) == num_samples_at_speed(num_samples, speed)
    assert abs(len(found) - num_samples / speed) <= 0.5


# ---- folders and values ------------------------------------------------------------------------------------


def test_noise_of_a_folder_is_mixed_in_at_the_snr(noises):
    time = np.arange(3 * RATE) / RATE
    tone = (0.2 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    always = Augmentation(noise_probability=1.0, noise_dir=str(noises), noise_snr_db=(10.0, 10.0))
    check_sounds([always.noise_dir], [])
    for clip in range(4):
        noise = vary(tone, always, 0, 0, clip).astype(float) - tone
        assert 10 * np.log10(np.mean(tone.astype(float) ** 2) / np.mean(noise**2)) == pytest.approx(
            10, abs=0.01
        )


def test_a_pause_in_a_recording_of_noise_is_not_blown_up(tmp_path):
    """Half of it is 40 dB quieter, and counts as 20 dB below the mean of both: 17 dB are left over."""
    noise = np.random.default_rng(0).standard_normal(20 * RATE)
    soundfile.write(tmp_path / "noise.wav", noise * np.repeat([0.1, 0.001], 10 * RATE), RATE)
    tone = (0.2 * np.sin(2 * np.pi * 440 * np.arange(RATE // 4) / RATE)).astype(np.float32)
    always = Augmentation(noise_probability=1.0, noise_dir=str(tmp_path), noise_snr_db=(10.0, 10.0))
    added = [vary(tone, always, 0, 0, clip).astype(float) - tone for clip in range(40)]
    snr_db = np.array([10 * np.log10(np.mean(tone.astype(float) ** 2) / np.mean(one**2)) for one in added])
    is_loud = np.abs(snr_db - 10) < 0.1
    assert 10 < is_loud.sum() < 30
    # the quiet half has 0.001² and counts as a hundredth of (0.1² + 0.001²) / 2
    assert np.median(snr_db[~is_loud]) == pytest.approx(10 + 10 * np.log10(50), abs=0.5)


@pytest.mark.parametrize("direct", [0.8, -0.8])
def test_responses_of_a_folder_are_used_without_their_delay(tmp_path, speech, direct):
    """A microphone may turn the sign of what it hears."""
    response = np.zeros(RATE)
    response[2_000], response[2_800] = direct, 0.4  # the direct sound after 125 ms, an echo 50 ms later
    soundfile.write(tmp_path / "room.wav", response, RATE)
    found = vary(speech, Augmentation(reverb_probability=1.0, reverb_dir=str(tmp_path)), 0)
    dry = np.pad(speech, (16, 0))[: len(speech)]  # 1 ms is kept in front of the peak
    expected = direct * dry + 0.4 * np.pad(dry, (800, 0))[: len(dry)]
    assert np.corrcoef(found, expected)[0, 1] > 0.9999


def test_bad_files_are_named_all_at_once(tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF\x24\x00\x00\x00WAVEjunk")
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "silent.wav", np.zeros(100), RATE)
    soundfile.write(tmp_path / "good.wav", np.full(100, 0.1), RATE)
    with pytest.raises(UserError) as caught:
        check_sounds([None, str(tmp_path)], [])
    message = str(caught.value)
    assert all(name in message for name in ("broken.wav", "nan.wav: NaN", "silent.wav: silent"))
    assert "good.wav" not in message


def test_ranges_have_two_values_the_lower_one_first():
    wrong = Augmentation(
        noise_snr_db=[20.0, 10.0], gain_db=[math.nan, 0.0], reverb_rt60=[0.2, 0.3, 0.4], noise_probability=0.5
    )
    assert [line.split()[0] for line in wrong.problems()] == ["noise_snr_db", "reverb_rt60", "gain_db"]
    assert Augmentation(noise_snr_db=[5.0, 5.0]).problems() == []


def test_a_codec_that_this_build_lacks_is_told_before_training(monkeypatch):
    monkeypatch.setattr(augmentation_checks, "missing_codec", {"gsm": None, "amr": "libopencore"}.get)
    with pytest.raises(UserError, match="codecs: amr needs libopencore, which this build"):
        check_sounds([], ["gsm", "amr"])
    check_sounds([None], ["gsm"])


def test_names_of_codecs_are_those_that_can_be_run():
    assert set(typing.get_args(CodecName)) == set(CODECS) == set(Augmentation().codecs)
