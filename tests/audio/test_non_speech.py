"""Sounds without speech: durations, levels, recordings, their place among the examples; probes."""

import numpy as np
import pytest
import soundfile

from tests.support.clip_tables import build_clips, table, tokenizer
from utils.audio.augmentation_options import NonSpeech
from utils.audio.non_speech import (
    LEVELS_DB,
    SHORTEST_LONG,
    WINDOW_KINDS,
    build_probes,
    draw_duration,
    make_window,
    ringing,
)
from utils.text.label_tokens import IGNORED


def level_db(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64))))


def test_windows_are_silence_or_noise_within_the_levels():
    windows = [make_window(2.0, None, (0, 0, number)) for number in range(300)]
    assert all(window.shape == (32_000,) and window.dtype == np.float32 for window in windows)
    loud = [window for window in windows if window.any()]
    assert 1 - len(loud) / len(windows) == pytest.approx(1 / len(WINDOW_KINDS), abs=0.07)  # digital silence
    levels = [level_db(window) for window in loud]
    # mean power of coloured noise is 1 in expectation only: allow 4 dB
    assert LEVELS_DB[0] - 4 < min(levels) < -70 and -25 < max(levels) < LEVELS_DB[1] + 4


def test_the_seed_decides_the_samples():
    one, same, other = (make_window(1.0, None, seed) for seed in ((0, 1, 3), (0, 1, 3), (0, 2, 3)))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_a_folder_gives_half_of_the_windows(tmp_path):
    tone = 0.25 * np.sin(np.arange(80_000) * 2 * np.pi * 440 / 16_000)
    soundfile.write(tmp_path / "tone.wav", tone, 16_000)
    windows = [make_window(3.0, str(tmp_path), (0, 0, number)) for number in range(200)]
    peaks = [np.abs(np.fft.rfft(window)) for window in windows]
    tonal = [peak[1320] > 0.5 * np.sqrt(np.sum(peak**2)) for peak in peaks]  # 440 Hz in 3 s
    assert np.mean(tonal) == pytest.approx(0.5, abs=0.1)


def test_durations_are_those_of_clips_with_long_ones_among_them():
    random = np.random.default_rng(0)
    drawn = np.array([draw_duration(2.5, 29.9, random) for _ in range(2000)])
    long = drawn[drawn != 2.5]
    assert len(long) / 2000 == pytest.approx(0.1, abs=0.03)
    assert long.min() >= SHORTEST_LONG and 29.0 < long.max() <= 29.9


# ---- among the examples of an epoch ------------------------------------------------------------------------


def windows_of(clips, epoch: int):
    return [example for example in clips.draw(epoch) if not example.rows]


def test_an_epoch_gets_its_share_of_windows_after_the_clips():
    rows = table([1.0 + number / 100 for number in range(95)])
    clips = build_clips(rows, non_speech=NonSpeech(non_speech_share=0.2))
    examples = clips.draw(0)
    assert [len(example.rows) for example in examples] == [1] * 95 + [0] * 19
    assert examples[:95] == build_clips(rows).draw(0)  # the clips are drawn as without
    assert len({example.seed for example in examples}) == 114
    assert clips.draw(1) == build_clips(rows, non_speech=NonSpeech(non_speech_share=0.2)).draw(1)
    assert windows_of(clips, 0) != windows_of(clips, 1)
    durations = {example.duration for example in windows_of(clips, 0)}
    assert all(seconds in rows["duration"] or 8 <= seconds <= 29.9 for seconds in durations)


def test_a_begun_window_is_a_whole_one():
    clips = build_clips(table([1.0] * 12), non_speech=NonSpeech(non_speech_share=0.2))
    assert len(windows_of(clips, 0)) == 3  # 2.4
    clips = build_clips(table([1.0] * 10), non_speech=NonSpeech(non_speech_share=0.3))
    assert len(windows_of(clips, 0)) == 3  # 10 x 0.3 and not a bit more


def test_of_a_window_nothing_but_the_end_is_predicted():
    clips = build_clips(table([2.0]), non_speech=NonSpeech(non_speech_share=1.0))
    (window,) = windows_of(clips, 0)
    names = tokenizer().convert_ids_to_tokens
    sequence = clips.sequence(window)
    assert names(sequence.inputs) == ["<|startoftranscript|>", "<|it|>", "<|transcribe|>", "<|notimestamps|>"]
    assert sequence.targets[:-1] == [IGNORED] * 3 and names(sequence.targets[-1]) == "<|endoftext|>"
    assert window.num_targets == 1


def test_with_timestamps_the_first_comes_before_the_end():
    clips = build_clips(table([2.0]), non_speech=NonSpeech(non_speech_share=1.0), timestamp_probability=1.0)
    (window,) = windows_of(clips, 0)
    names = tokenizer().convert_ids_to_tokens
    sequence = clips.sequence(window)
    assert names(sequence.inputs)[1:] == ["<|it|>", "<|transcribe|>", "<|0.00|>"]
    assert sequence.targets[:2] == [IGNORED] * 2
    assert names(sequence.targets[2:]) == ["<|0.00|>", "<|endoftext|>"]
    assert window.num_targets == 2


def test_audio_of_windows_comes_without_any_clip():
    clips = build_clips(table([0.5]), non_speech=NonSpeech(non_speech_share=1.0))
    windows = [window for epoch in range(10) for window in windows_of(clips, epoch)]
    found = clips.waveforms(windows)
    assert [len(samples) for samples in found] == [round(window.duration * 16_000) for window in windows]
    assert all(np.abs(samples).max() <= 1.0 for samples in found)


def test_audio_of_windows_comes_from_the_folder(tmp_path):
    soundfile.write(tmp_path / "constant.wav", np.full(16_000, 0.25), 16_000)
    clips = build_clips(
        table([0.5]), non_speech=NonSpeech(non_speech_share=1.0, non_speech_dir=str(tmp_path))
    )
    found = clips.waveforms([window for epoch in range(20) for window in windows_of(clips, epoch)])
    assert 4 < sum(bool(np.allclose(samples, 0.25, atol=1e-3)) for samples in found) < 16


def test_every_kind_of_probe_comes_in_every_duration_and_never_clips_over():
    probes = build_probes([0.5, 2.0], seed=0)
    kinds = [probe.kind for probe in probes]
    assert len(probes) == 20 and all(kinds.count(kind) == 2 for kind in kinds)
    assert [probe.duration for probe in probes] == [0.5, 2.0] * 10
    assert all(np.abs(probe.samples).max() <= 1.0 for probe in probes)
    levels = {probe.kind: np.sqrt(np.mean(probe.samples**2)) for probe in probes if probe.duration == 2.0}
    assert levels["silence"] == 0
    assert 20 * np.log10(levels["floor"]) == pytest.approx(-75, abs=0.5)
    assert 20 * np.log10(levels["white"]) == pytest.approx(-35, abs=0.5)
    assert all(20 * np.log10(levels[kind]) > -45 for kind in ("hum", "knocks", "ringing", "tune"))


def test_the_ringing_is_of_425_hertz_one_second_in_five():
    samples = ringing(160_000, np.random.default_rng(0))
    assert np.argmax(np.abs(np.fft.rfft(samples))) == 4250  # 10 s
    assert np.mean(samples != 0) == pytest.approx(0.2, abs=0.01)
