"""Recordings over 30 s: windows that hold all speech, and texts that are those of the single prompts."""

import itertools

import numpy as np
import pytest
import torch

from utils.audio.flac import SAMPLE_RATE, encode_flac
from utils.audio.voice_activity import find_speech
from utils.evaluation.backends.opening import open_transcriber
from utils.evaluation.backends.transcriber import BackendOptions
from utils.evaluation.recordings import LONGEST_WINDOW, cut_windows, transcribe_chunked
from utils.scoring.error_rates import error_rates, score_utterances

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def base():
    options = BackendOptions(CPU, "float32", 225)
    with open_transcriber("openai/whisper-base", "transformers", options) as opened:
        yield opened


@pytest.fixture(scope="module")
def recording(italian_prompts) -> np.ndarray:
    """The prompts twice over with pauses of 0.7 s: about a minute."""
    pause = np.zeros(round(0.7 * SAMPLE_RATE), dtype=np.float32)
    clips = [waveform for waveform, _ in italian_prompts]
    return np.concatenate([part for clip in [*clips, *clips] for part in (clip, pause)])


@pytest.fixture(scope="module")
def alone(base, italian_prompts) -> list[str]:
    """What is heard of each prompt by itself."""
    clips = [encode_flac(waveform) for waveform, _ in italian_prompts]
    return base.transcribe_batch(clips, ["it"] * len(clips), [30.0] * len(clips))


def test_windows_hold_all_speech_in_order(recording):
    windows = cut_windows(recording)
    assert len(recording) > 35 * SAMPLE_RATE and len(windows) >= 2
    assert all(0 < window.end - window.start <= LONGEST_WINDOW for window in windows)
    assert all(first.end <= second.start for first, second in itertools.pairwise(windows))
    for span in find_speech(recording):
        assert any(window.start <= span.start and span.end <= window.end for window in windows)


def test_speech_without_a_pause_is_cut(recording):
    """Prompts trimmed to their speech and joined without a gap, twice 35 s of them."""
    spoken = [
        recording[round(span.start * SAMPLE_RATE) + 1600 : round(span.end * SAMPLE_RATE) - 1600]
        for span in find_speech(recording)
    ]
    stretch = np.tile(np.concatenate(spoken), 2)[: 35 * SAMPLE_RATE]
    dense = np.concatenate([stretch, np.zeros(20 * SAMPLE_RATE, dtype=np.float32), stretch])
    windows = cut_windows(dense, longest=10.0)
    assert all(window.end - window.start <= 10.0 for window in windows)
    covered = sum(window.end - window.start for window in windows)
    assert covered == pytest.approx(sum(span.end - span.start for span in find_speech(dense)), rel=0.1)


def test_silence_has_no_windows_and_no_text():
    silence = np.zeros(40 * SAMPLE_RATE, dtype=np.float32)
    assert cut_windows(silence) == []
    never_asked = object()
    assert transcribe_chunked(never_asked, silence, "it", audio_context="full", batch_size=4) == ""


def test_temperatures_draw_the_same_again(tiny_whisper):
    """A random model is so unsure that every window is drawn at the highest temperature."""
    samples = np.random.default_rng(0).normal(size=40 * SAMPLE_RATE).astype(np.float32)
    options = BackendOptions(CPU, "float32", 10)
    texts = []
    with open_transcriber(str(tiny_whisper), "transformers", options) as transcriber:
        for seed in (1, 2):
            torch.manual_seed(seed)
            texts.append(transcriber.transcribe_recording(samples, "it"))
            drawn = torch.rand(1)
            torch.manual_seed(seed)
            assert drawn == torch.rand(1)  # nothing else is drawn otherwise
    assert texts[0] == texts[1] and texts[0]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["sequential", "chunked"])
def test_a_long_recording_has_the_errors_of_its_parts(base, alone, recording, italian_prompts, way):
    texts = [text for _, text in italian_prompts]
    recording = recording[: len(recording) // 2]  # each prompt once: 30.5 s
    if way == "sequential":
        whole = base.transcribe_recording(recording, "it")
    else:
        decode = base.transcribe_batch
        whole = transcribe_chunked(decode, recording, "it", audio_context="full", batch_size=4)
    expected = error_rates(score_utterances(texts, texts, alone, "basic"))
    found = error_rates(score_utterances(["all"], [" ".join(texts)], [whole], "basic"))
    assert found.normalized_wer <= expected.normalized_wer + 0.1
