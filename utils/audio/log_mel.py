"""Compute log-mel spectrograms of a whole batch at once, on any device and at any length."""

from functools import lru_cache

import numpy as np
import torch
from transformers import WhisperFeatureExtractor

from utils.audio.flac import SAMPLE_RATE


def pad_waveforms(clips: list[np.ndarray], context: float) -> torch.Tensor:
    """Pad clips with silence to `context` seconds, or cut them to it.

    Returns:
        (B, context * 16000) float32.
    """
    num_samples = round(context * SAMPLE_RATE)
    waveforms = np.zeros((len(clips), num_samples), dtype=np.float32)
    for row, clip in zip(waveforms, clips, strict=True):
        row[: min(len(clip), num_samples)] = clip[:num_samples]
    return torch.from_numpy(waveforms)


def input_features(
    clips: list[np.ndarray],
    context: float,
    feature_extractor: WhisperFeatureExtractor,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Return the log-mel spectrograms (B, n_mels, frames) of clips (samples,) float32 at 16 kHz.

    Each clip is padded or cut to `context` seconds.
    """
    return log_mel(pad_waveforms(clips, context).to(device), feature_extractor)


def log_mel(waveforms: torch.Tensor, feature_extractor: WhisperFeatureExtractor) -> torch.Tensor:
    """Compute Whisper's log-mel spectrograms, as `WhisperFeatureExtractor` does, of clips padded to one
    length.

    Args:
        waveforms: (B, samples) float32 at 16 kHz.
        feature_extractor: Gives the mel filter bank, the window and the hop.

    Returns:
        (B, n_mels, samples / hop) float32 on the waveforms' device. Values more than 80 dB below the maximum
        of a clip are raised to that level, as in openai/whisper, because the model was trained so. The
        computation is in float32 also under autocast: the power would overflow float16, and bfloat16 would
        lose quiet parts.
    """
    n_fft, hop = feature_extractor.n_fft, feature_extractor.hop_length
    window, filters = _window_and_filters(
        n_fft, feature_extractor.mel_filters.tobytes(), feature_extractor.mel_filters.shape, waveforms.device
    )
    with torch.autocast(waveforms.device.type, enabled=False):
        spectrum = torch.stft(
            waveforms, n_fft, hop, window=window, return_complex=True
        )  # (B, n_fft / 2 + 1, frames + 1)
        power = spectrum[..., :-1].abs() ** 2
        log_spectrum = (filters @ power).clamp(min=1e-10).log10()  # (B, n_mels, frames)
    loudest = log_spectrum.amax(dim=(1, 2), keepdim=True)
    return (torch.maximum(log_spectrum, loudest - 8.0) + 4.0) / 4.0


@lru_cache(maxsize=8)
def _window_and_filters(
    n_fft: int, filter_bytes: bytes, filter_shape: tuple[int, int], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the Hann window and the transposed mel filters (n_mels, n_fft / 2 + 1), kept on the device."""
    filters = np.frombuffer(filter_bytes, dtype=np.float64).reshape(filter_shape)
    return torch.hann_window(n_fft, device=device), torch.from_numpy(filters.T.astype(np.float32)).to(device)
