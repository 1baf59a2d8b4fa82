"""Speech and silence: the rules by hand, the detector on real speech."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.audio.levels import Levels, frame_levels, measure_levels, runs_of, silent_frames
from utils.audio.voice_activity import (
    CHUNK_SAMPLES,
    SpeechSpan,
    find_speech,
    spans_of_speech,
    speech_probabilities,
)

CHUNK = CHUNK_SAMPLES / 16_000  # 0.032 s


def chunks(*parts: tuple[int, float]) -> np.ndarray:
    return np.concatenate([np.full(count, value, dtype=np.float32) for count, value in parts])


def test_short_silences_belong_to_the_speech_around_them():
    probabilities = chunks((20, 0.0), (20, 0.9), (5, 0.0), (20, 0.9), (20, 0.0), (10, 0.9), (15, 0.0))
    spans = spans_of_speech(probabilities, 110 * CHUNK, padding=0.0)
    assert spans == [
        SpeechSpan(pytest.approx(20 * CHUNK), pytest.approx(65 * CHUNK)),
        SpeechSpan(pytest.approx(85 * CHUNK), pytest.approx(95 * CHUNK)),
    ]


def test_speech_goes_on_until_the_detector_is_well_below_the_threshold():
    probabilities = chunks((10, 0.4), (10, 0.6), (10, 0.4), (10, 0.3))
    assert spans_of_speech(probabilities, 40 * CHUNK, padding=0.0) == [
        SpeechSpan(0.0, pytest.approx(30 * CHUNK))
    ]


def test_a_click_is_no_speech():
    assert spans_of_speech(chunks((10, 0.0), (3, 0.9), (10, 0.0)), 23 * CHUNK, padding=0.0) == []


def test_padding_shares_a_silence_between_its_neighbours():
    probabilities = chunks((10, 0.9), (10, 0.0), (10, 0.9))
    spans = spans_of_speech(probabilities, 30 * CHUNK, padding=1.0)
    assert spans == [
        SpeechSpan(0.0, pytest.approx(15 * CHUNK)),
        SpeechSpan(pytest.approx(15 * CHUNK), pytest.approx(30 * CHUNK)),
    ]


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=80), st.floats(0, 0.5))
def test_spans_lie_in_order_within_the_recording(values: list[float], padding: float):
    duration = len(values) * CHUNK
    spans = spans_of_speech(np.array(values, dtype=np.float32), duration, padding=padding)
    edges = [edge for span in spans for edge in (span.start, span.end)]
    assert edges == sorted(edges)
    assert all(0 <= edge <= duration + 1e-9 for edge in edges)
    assert all(span.end > span.start for span in spans)


@given(st.lists(st.booleans(), max_size=50))
def test_runs_cover_what_is_true(mask: list[bool]):
    covered = [False] * len(mask)
    for first, last in runs_of(np.array(mask, dtype=bool)):
        covered[first:last] = [True] * (last - first)
        assert first == 0 or not mask[first - 1]
        assert last == len(mask) or not mask[last]
    assert covered == mask


def test_levels_of_a_sine_by_hand():
    time = np.arange(16_000) / 16_000
    sine = (0.5 * np.sin(2 * np.pi * 100 * time)).astype(np.float32)  # a period is one frame
    levels = frame_levels(np.concatenate([sine, np.zeros(80, dtype=np.float32)]))
    assert levels.shape == (101,)
    assert levels[:100] == pytest.approx(10 * np.log10(0.125), abs=0.01)
    assert levels[100] == pytest.approx(-100.0)


def test_silence_is_found_below_speech_in_noise():
    random = np.random.default_rng(0)
    loudness = np.repeat([0.3, 0.005, 0.3, 0.005, 0.3], 16_000)
    samples = (loudness * random.standard_normal(80_000)).astype(np.float32)
    silent = silent_frames(frame_levels(samples))
    assert silent.reshape(5, 100).mean(axis=1).round(2).tolist() == [0.0, 1.0, 0.0, 1.0, 0.0]


def test_steady_noise_has_no_silence():
    noise = np.random.default_rng(0).standard_normal(160_000).astype(np.float32)
    assert not silent_frames(frame_levels(0.1 * noise)).any()


def test_cut_in_the_middle_of_the_silence_or_where_it_is_quietest():
    silent = np.zeros(300, dtype=bool)
    silent[100:140] = True
    decibels = np.full(300, -20.0)
    decibels[210] = -26.0
    levels = Levels(decibels, silent)
    assert levels.cut_point(0.95, 1.1) == pytest.approx(1.2)  # 1.0 to 1.4 s, whatever the words say
    assert levels.cut_point(2.1, 2.12) == pytest.approx(2.105)
    assert 0 <= levels.cut_point(-0.5, 0.0) <= 3.0
    assert 0 <= levels.cut_point(3.0, 9.0) <= 3.0


def test_detector_hears_prompts_and_not_the_silence_between(italian_prompts):
    silence = np.zeros(24_000, dtype=np.float32)
    prompts = [samples for samples, _ in italian_prompts[:4]]
    samples = np.concatenate([part for prompt in prompts for part in (silence, prompt)] + [silence])
    spans = spans_of_speech(speech_probabilities(samples), len(samples) / 16_000, min_silence=1.0)
    assert len(spans) == 4
    starts = np.cumsum([0] + [24_000 + len(prompt) for prompt in prompts])[:4] / 16_000 + 1.5
    for span, start, prompt in zip(spans, starts, prompts, strict=True):
        assert start - 0.15 <= span.start <= start + 0.5
        assert span.end <= start + len(prompt) / 16_000 + 0.2  # the detector dies away slowly


def test_probabilities_are_those_of_the_package(italian_prompts):
    import torch

    folder = Path(importlib.util.find_spec("silero_vad").submodule_search_locations[0])
    detector = torch.jit.load(str(folder / "data" / "silero_vad.jit"))  # its own way
    samples = np.concatenate([samples for samples, _ in italian_prompts] * 4)[: 16_000 * 40 + 100]
    padded = np.pad(samples, (0, -len(samples) % CHUNK_SAMPLES)).reshape(-1, 1, CHUNK_SAMPLES)
    with torch.inference_mode():
        expected = [detector(torch.from_numpy(chunk), 16_000).item() for chunk in padded]
    assert speech_probabilities(samples) == pytest.approx(expected, abs=1e-4)


def test_nothing_but_silence_or_nothing_at_all():
    assert find_speech(np.zeros(16_000, dtype=np.float32)) == []
    assert find_speech(np.zeros(0, dtype=np.float32)) == []
    assert len(measure_levels(np.zeros(0, dtype=np.float32)).silent) == 1
