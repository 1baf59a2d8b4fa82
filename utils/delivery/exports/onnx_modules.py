"""Whisper as modules of plain tensors in, plain tensors out, as the ONNX exporter wants them.

They have the inputs and outputs of optimum's exports of Whisper, which transformers.js reads. A key or value
is (B, heads, positions, head size).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import WhisperForConditionalGeneration
from transformers.models.whisper.modeling_whisper import WhisperAttention, WhisperDecoderLayer

KEY_AND_VALUE = 2


class OnnxEncoder(nn.Module):
    """The encoder: (B, n_mels, frames) to (B, positions, d_model)."""

    def __init__(self, whisper: WhisperForConditionalGeneration) -> None:
        super().__init__()
        self.encoder = whisper.model.encoder

    def forward(self, input_features: Tensor) -> Tensor:
        return self.encoder(input_features).last_hidden_state


class OnnxDecoder(nn.Module):
    """The decoder with its projection. Which inputs it takes is said by its two kinds."""

    def __init__(self, whisper: WhisperForConditionalGeneration) -> None:
        super().__init__()
        self.decoder, self.proj_out = whisper.model.decoder, whisper.proj_out

    def decode(
        self, input_ids: Tensor, past: Sequence[Tensor], cross: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return logits (B, tokens, vocabulary), keys and values of all layers, and cross-attentions.

        Args:
            input_ids: (B, tokens)
            past: Key and value of the earlier tokens of each layer; empty before the first token.
            cross: Key and value of the encoder's states of each layer.
        """
        start = past[0].shape[2] if past else 0
        end = start + input_ids.shape[1]
        positions = torch.arange(start, end)
        mask = torch.arange(end)[None] > positions[:, None]  # (tokens, end): what comes later
        hidden = self.decoder.embed_tokens(input_ids) + self.decoder.embed_positions.weight[start:end]
        present, weights = [], []
        for index, layer in enumerate(self.decoder.layers):
            both = slice(KEY_AND_VALUE * index, KEY_AND_VALUE * (index + 1))
            own, hidden = _attend_to_tokens(layer, hidden, past[both], mask)
            seen, hidden = _attend_to_audio(layer, hidden, cross[both])
            inner = layer.activation_fn(layer.fc1(layer.final_layer_norm(hidden)))
            hidden = hidden + layer.fc2(inner)
            present += own
            weights.append(seen)
        return self.proj_out(self.decoder.layer_norm(hidden)), present, weights


class FirstStep(OnnxDecoder):
    """Read the prompt: compute the keys and values of the encoder's states too."""

    def forward(self, input_ids: Tensor, encoder_hidden_states: Tensor) -> tuple[Tensor, ...]:
        cross = []
        for layer in self.decoder.layers:
            attention = layer.encoder_attn
            cross += [_split(attention, project(encoder_hidden_states)) for project in _projections(attention)]
        logits, present, weights = self.decode(input_ids, (), cross)
        return logits, *_by_layer(present, cross), *weights


class LaterStep(OnnxDecoder):
    """Read further tokens, with the keys and values of all before."""

    def forward(self, input_ids: Tensor, past: list[Tensor], cross: list[Tensor]) -> tuple[Tensor, ...]:
        logits, present, weights = self.decode(input_ids, past, cross)
        return logits, *present, *weights


def _attend_to_tokens(
    layer: WhisperDecoderLayer, hidden: Tensor, past: Sequence[Tensor], mask: Tensor
) -> tuple[list[Tensor], Tensor]:
    attention, normed = layer.self_attn, layer.self_attn_layer_norm(hidden)
    present = [_split(attention, project(normed)) for project in _projections(attention)]
    if past:
        present = [torch.cat(pair, dim=2) for pair in zip(past, present, strict=True)]
    _, attended = _attend(attention, normed, present, mask)
    return present, hidden + attended


def _attend_to_audio(
    layer: WhisperDecoderLayer, hidden: Tensor, cross: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    weights, attended = _attend(layer.encoder_attn, layer.encoder_attn_layer_norm(hidden), cross, None)
    return weights, hidden + attended


def _attend(
    attention: WhisperAttention, normed: Tensor, key_and_value: Sequence[Tensor], mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the weights (B, heads, tokens, positions) and the result (B, tokens, d_model)."""
    key, value = key_and_value
    query = _split(attention, attention.q_proj(normed) * attention.scaling)
    scores = query @ key.transpose(2, 3)
    if mask is not None:
        scores = scores.masked_fill(mask, torch.finfo(scores.dtype).min)
    weights = functional.softmax(scores, dim=-1)
    return weights, attention.out_proj((weights @ value).transpose(1, 2).flatten(2))


def _projections(attention: WhisperAttention) -> tuple[nn.Linear, nn.Linear]:
    return attention.k_proj, attention.v_proj


def _split(attention: WhisperAttention, states: Tensor) -> Tensor:
    """(B, positions, d_model) to (B, heads, positions, head size)"""
    return states.unflatten(2, (attention.num_heads, attention.head_dim)).transpose(1, 2)


def _by_layer(own: Sequence[Tensor], cross: Sequence[Tensor]) -> list[Tensor]:
    """Own key and value of the first layer, its cross key and value, and so on."""
    return [
        tensor
        for start in range(0, len(own), KEY_AND_VALUE)
        for group in (own, cross)
        for tensor in group[start : start + KEY_AND_VALUE]
    ]
