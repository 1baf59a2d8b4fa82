"""Run Whisper's encoder at any length, with condensed silence after a clip."""

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
    """Encode clips, each (samples,) float32 at 16 kHz, padded or cut to `context` seconds. See `encode`."""
    return encode(model, input_features(clips, context, feature_extractor, model.device), silence_run)


def encode(
    model: WhisperForConditionalGeneration,
    input_features: torch.Tensor,
    silence_run: int = 0,
    multiple: int = 1,
) -> torch.Tensor:
    """Run the encoder on an input of any length.

    It uses as many position embeddings as the input has positions.

    Args:
        input_features: (B, n_mels, frames) with an even number of frames, 3000 at most. With a `silence_run`,
            the last frame must be silence.
        silence_run: Number of silent positions that one position represents. 0 adds no silence.
        multiple: If silence is added, the number of positions is a multiple of this. See `condense`.

    Returns:
        (B, positions, d_model). There are half as many positions as frames, and those that represent the
        silence. For 3000 frames, the result is equal to that of transformers' encoder, which accepts no other
        size.
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
    # Call the module, do not read its weight: sharded training gathers weights in the module's hooks.
    hidden = hidden + encoder.embed_positions(positions)
    hidden = nn.functional.dropout(hidden, p=encoder.dropout, training=encoder.training)
    for layer in encoder.layers:
        hidden = layer(hidden, key_bias)
    return encoder.layer_norm(hidden)


def condensed_silence(
    model: WhisperForConditionalGeneration, context: int, silence_run: int, multiple: int = 1
) -> CondensedSilence | None:
    """Return the condensed silence after a context of this number of encoder positions.

    None if there is no silence.
    """
    return condense(context, silence_run, model.config.max_source_positions, multiple)
