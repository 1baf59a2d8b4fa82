"""Whisper's encoder and decoder as ONNX graphs, with the inputs and outputs of optimum's exports.

transformers.js and optimum read them. They are built operator by operator: for Whisper base that takes a
second, where torch.onnx.export takes half a minute to trace the model.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from transformers import WhisperConfig

from utils.delivery.exports.onnx_weights import Weights
from utils.delivery.exports.onnx_writer import GraphWriter, KeyAndValue

OPSET = 18  # known to every runtime of the last years

IR_VERSION = 8  # the format of files of that time

FLAG = "use_cache_branch"

FLOAT = ir.DataType.FLOAT

EMBEDDING = "model.decoder.embed_tokens.weight"


def build_encoder(config: WhisperConfig, weights: Weights) -> ir.Model:
    """The encoder: `input_features` (B, n_mels, frames) to `last_hidden_state` (B, positions, d_model)."""
    frames = 2 * config.max_source_positions
    features = _value("input_features", FLOAT, ["batch_size", config.num_mel_bins, frames])
    states = _value("last_hidden_state", FLOAT, ["batch_size", config.max_source_positions, config.d_model])
    heads = config.encoder_attention_heads
    to = GraphWriter(weights, heads, config.d_model // heads)
    hidden = to.to_inner(features)
    for name, stride in (("conv1", 1), ("conv2", 2)):
        kernel, bias = (weights.get(f"model.encoder.{name}.{kind}") for kind in ("weight", "bias"))
        hidden = to.gelu(to.op("Conv", hidden, kernel, bias, kernel_shape=[3], strides=[stride], pads=[1, 1]))
    positions = weights.get("model.encoder.embed_positions.weight")
    hidden = to.op("Add", to.op("Transpose", hidden, perm=[0, 2, 1]), positions)
    for index in range(config.encoder_layers):
        name = f"model.encoder.layers.{index}"
        normed = to.layer_norm(hidden, f"{name}.self_attn_layer_norm")
        own = to.key_and_value(normed, f"{name}.self_attn")
        hidden = to.op("Add", hidden, to.attend(normed, f"{name}.self_attn", own)[0])
        inner = to.feed_forward(to.layer_norm(hidden, f"{name}.final_layer_norm"), name)
        hidden = to.op("Add", hidden, inner)
    last = to.to_outer(to.layer_norm(hidden, "model.encoder.layer_norm"))
    last.name, last.type, last.shape = states.name, states.type, states.shape
    return _model("encoder", [features], [last], to.nodes, weights)


def build_decoder(config: WhisperConfig, weights: Weights) -> ir.Model:
    """The decoder as optimum's `decoder_model_merged`.

    If `use_cache_branch` is false, it reads the prompt and leaves the past aside, which must be there but may
    be empty. It returns keys and values of the tokens and of the encoder's states. If the flag is true, it
    takes both, and returns no elements for those of the encoder's states, which stay the same.

    A key or value is (B, heads, positions, head size); `cross_attentions.0` and so on, from which the times
    of words are computed, are (B, heads, tokens, positions of the encoder).
    """
    ids = _value("input_ids", ir.DataType.INT64, ["batch_size", "decoder_sequence_length"])
    states = _value("encoder_hidden_states", FLOAT, ["batch_size", "encoder_sequence_length", config.d_model])
    flag = _value(FLAG, ir.DataType.BOOL, [1])
    layers = range(config.decoder_layers)
    own = [_pair(config, f"past_key_values.{i}.decoder", "past_decoder_sequence_length") for i in layers]
    cross = [_pair(config, f"past_key_values.{i}.encoder", "encoder_sequence_length_out") for i in layers]
    outputs = [_value("logits", FLOAT, ["batch_size", "decoder_sequence_length", config.vocab_size])]
    for i in layers:
        outputs += _pair(
            config, f"present.{i}.decoder", "past_decoder_sequence_length + decoder_sequence_length"
        )
        outputs += _pair(config, f"present.{i}.encoder", "encoder_sequence_length_out")
    heads, _ = _heads(config)
    shape: list[int | str] = ["batch_size", heads, "decoder_sequence_length", "encoder_sequence_length_out"]
    outputs += [_value(f"cross_attentions.{i}", FLOAT, shape) for i in layers]
    branches = {
        "then_branch": _build_later_step(config, weights, ids, own, cross),
        "else_branch": _build_first_step(config, weights, ids, states),
    }
    choice = ir.node("If", [flag], branches, outputs=outputs)
    past = [value for pairs in zip(own, cross, strict=True) for pair in pairs for value in pair]
    return _model("decoder", [ids, states, *past, flag], outputs, [choice], weights)


def _build_first_step(config: WhisperConfig, weights: Weights, ids: ir.Value, states: ir.Value) -> ir.Graph:
    to = GraphWriter(weights, *_heads(config))
    inner = to.to_inner(states)
    cross = [
        to.key_and_value(inner, f"model.decoder.layers.{index}.encoder_attn")
        for index in range(config.decoder_layers)
    ]
    logits, own, attentions = _build_layers(config, to, ids, [], cross)
    return _branch("first_step", to, logits, own, cross, attentions)


def _build_later_step(
    config: WhisperConfig,
    weights: Weights,
    ids: ir.Value,
    past: Sequence[KeyAndValue],
    cross: Sequence[KeyAndValue],
) -> ir.Graph:
    to = GraphWriter(weights, *_heads(config))
    past, cross = (
        [(to.to_inner(key), to.to_inner(value)) for key, value in pairs] for pairs in (past, cross)
    )
    logits, own, attentions = _build_layers(config, to, ids, past, cross)
    heads, head_dim = _heads(config)
    nothing = ir.tensor(np.zeros((0, heads, 1, head_dim), weights.dtype.numpy()))
    empty = [(to.op("Constant", value=nothing), to.op("Constant", value=nothing)) for _ in cross]
    return _branch("later_step", to, logits, own, empty, attentions)


def _build_layers(
    config: WhisperConfig,
    to: GraphWriter,
    ids: ir.Value,
    past: Sequence[KeyAndValue],
    cross: Sequence[KeyAndValue],
) -> tuple[ir.Value, list[KeyAndValue], list[ir.Value]]:
    """Return logits, own keys and values with those of the past, and cross-attentions."""
    zero, one = to.constant(0), to.constant(1)
    start = to.size(past[0][0], axis=2) if past else zero
    end = to.op("Add", start, to.size(ids, axis=1))
    positions = to.op("Range", start, end, one)
    reached = to.op("Unsqueeze", positions, to.constant([1]))
    later = to.op("Greater", to.op("Range", zero, end, one), reached)  # (tokens, end)
    places = to.op("Gather", to.weights.get("model.decoder.embed_positions.weight"), positions)
    hidden = to.op("Add", to.embed(ids, EMBEDDING), places)
    owns, attentions = [], []
    for index in range(config.decoder_layers):
        name = f"model.decoder.layers.{index}"
        normed = to.layer_norm(hidden, f"{name}.self_attn_layer_norm")
        own = to.key_and_value(normed, f"{name}.self_attn")
        if past:
            (old_key, old_value), (key, value) = past[index], own
            own = to.op("Concat", old_key, key, axis=2), to.op("Concat", old_value, value, axis=2)
        hidden = to.op("Add", hidden, to.attend(normed, f"{name}.self_attn", own, later)[0])
        normed = to.layer_norm(hidden, f"{name}.encoder_attn_layer_norm")
        heard, attention = to.attend(normed, f"{name}.encoder_attn", cross[index])
        hidden = to.op("Add", hidden, heard)
        inner = to.feed_forward(to.layer_norm(hidden, f"{name}.final_layer_norm"), name)
        hidden = to.op("Add", hidden, inner)
        owns.append(own)
        attentions.append(attention)
    return to.multiply_by_rows(to.layer_norm(hidden, "model.decoder.layer_norm"), EMBEDDING), owns, attentions


def _branch(
    name: str,
    to: GraphWriter,
    logits: ir.Value,
    own: Sequence[KeyAndValue],
    cross: Sequence[KeyAndValue],
    attentions: Sequence[ir.Value],
) -> ir.Graph:
    present = [value for pairs in zip(own, cross, strict=True) for pair in pairs for value in pair]
    outputs = [to.to_outer(value) for value in (logits, *present, *attentions)]
    return ir.Graph([], outputs, nodes=to.nodes, name=name)


def _heads(config: WhisperConfig) -> tuple[int, int]:
    """Return the number of the decoder's heads, and their size."""
    return config.decoder_attention_heads, config.d_model // config.decoder_attention_heads


def _pair(config: WhisperConfig, name: str, positions: str) -> KeyAndValue:
    heads, head_dim = _heads(config)
    shape: list[int | str] = ["batch_size", heads, positions, head_dim]
    return _value(f"{name}.key", FLOAT, shape), _value(f"{name}.value", FLOAT, shape)


def _value(name: str, dtype: ir.DataType, shape: Sequence[int | str]) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))


def _model(
    name: str,
    inputs: Sequence[ir.Value],
    outputs: Sequence[ir.Value],
    nodes: Sequence[ir.Node],
    weights: Weights,
) -> ir.Model:
    graph = ir.Graph(
        inputs,
        outputs,
        nodes=nodes,
        initializers=list(weights.values.values()),
        opset_imports={"": OPSET},
        name=name,
    )
    return ir.Model(graph, ir_version=IR_VERSION, producer_name="whisper-finetuning")
