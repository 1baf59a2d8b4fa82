"""Our batched log-mel against transformers' feature extractor."""

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from utils.audio.log_mel import log_mel, pad_waveforms


def _speechlike(seconds: float, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * 16_000)) / 16_000
    return (np.sin(time * 2_000) * np.sin(time * 9) + 0.05 * random.normal(size=time.size)).astype(np.float32)


@pytest.mark.parametrize("num_mel_bins", [80, 128])
def test_equals_the_feature_extractor_on_full_windows(num_mel_bins):
    extractor = WhisperFeatureExtractor(feature_size=num_mel_bins)
    clips = [_speechlike(2.4, 0), _speechlike(11.0, 1), 0.01 * _speechlike(5.0, 2)]
    expected = extractor(clips, sampling_rate=16_000, return_tensors="pt").input_features
    found = log_mel(pad_waveforms(clips, 30.0), extractor)
    assert found.shape == (3, num_mel_bins, 3000)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_short_context_is_the_beginning_of_the_full_one():
    extractor = WhisperFeatureExtractor(feature_size=80)
    clips = [_speechlike(2.4, 0), _speechlike(1.1, 1)]
    short = log_mel(pad_waveforms(clips, 2.6), extractor)
    full = log_mel(pad_waveforms(clips, 30.0), extractor)
    assert short.shape == (2, 80, 260)
    torch.testing.assert_close(short, full[..., :260], atol=1e-5, rtol=0)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_autocast_takes_nothing_away(precision):
    extractor = WhisperFeatureExtractor(feature_size=80)
    waveforms = pad_waveforms([_speechlike(2.4, 0)], 2.6)
    expected = log_mel(waveforms, extractor)
    with torch.autocast("cpu", dtype=precision):
        assert torch.equal(log_mel(waveforms, extractor), expected)


def test_clips_longer_than_the_context_are_cut():
    waveforms = pad_waveforms([np.ones(32_000, dtype=np.float32)], 1.0)
    assert waveforms.shape == (1, 16_000)
