"""Whisper's encoder at any length, with the silence behind a clip condensed."""

import numpy as np
import torch
from torch import nn
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from utils.audio.log_mel import input_features
from utils.model.silence import CondensedSilence, condense, extend_features


def encode_clips(
    model: WhisperForConditionalGeneration,
    feature_extractor: WhisperFeatureExtractor,
    clips: list[np.ndarray],
    context: float,
    silence_run: int = 0,
) -> torch.Tensor:
    """Encode clips, (samples,) float32 at 16 kHz each, padded or cut to `context` seconds; see `encode`."""
    return encode(model, input_features(clips, context, feature_extractor, model.device), silence_run)


def encode(
    model: WhisperForConditionalGeneration,
    input_features: torch.Tensor,
    silence_run: int = 0,
    multiple: int = 1,
) -> torch.Tensor:
    """The encoder at any length: position embeddings are cut to the input, everything else is Whisper's own.

    Args:
        input_features: (B, n_mels, frames) with an even number of frames, 3000 at most; with a `silence_run`
            their last frame is silence.
        silence_run: Positions of the silence up to 30 s that one stands for; 0 leaves the silence out.
        multiple: What the positions are divisible by, if there is silence to be had, see `condense`.

    Returns:
        (B, positions, d_model), where positions are half the frames and what stands for the silence. At 3000
        frames, all that transformers' encoder takes, the two are equal.
    """
    encoder: WhisperEncoder = model.model.encoder
    silence = condensed_silence(model, input_features.shape[2] // 2, silence_run, multiple)
    hidden = input_features.to(encoder.conv1.weight.dtype)
    if silence is not None:
        hidden = extend_features(hidden)
    hidden = nn.functional.gelu(encoder.conv1(hidden))
    hidden = nn.functional.gelu(encoder.conv2(hidden)).permute(0, 2, 1)
    positions, key_bias = torch.arange(hidden.shape[1], device=hidden.device), None
    if silence is not None:
        hidden, positions = silence.extend(hidden), silence.positions(hidden.device)
        key_bias = silence.key_bias(hidden)
    # Through the module, not its weight: sharded training gathers weights in the module's hooks.
    hidden = hidden + encoder.embed_positions(positions)
    hidden = nn.functional.dropout(hidden, p=encoder.dropout, training=encoder.training)
    for layer in encoder.layers:
        hidden = layer(hidden, key_bias)
    return encoder.layer_norm(hidden)


def condensed_silence(
    model: WhisperForConditionalGeneration, context: int, silence_run: int, multiple: int = 1
) -> CondensedSilence | None:
    """What stands for the silence behind a context of so many encoder positions; None for nothing."""
    return condense(context, silence_run, model.config.max_source_positions, multiple)
