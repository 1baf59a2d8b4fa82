"""CTranslate2's names and stacks of weights to those of Hugging Face."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.model.ctranslate2.model_bin import NEW_CONVERSION, ModelBin
from utils.runtime.errors import UserError

if TYPE_CHECKING:
    from transformers import WhisperConfig


# CTranslate2 name -> Hugging Face name, for what is copied as it is; {} is the layer
STEM_NAMES = {
    "encoder/conv1": "model.encoder.conv1",
    "encoder/conv2": "model.encoder.conv2",
    "encoder/layer_norm": "model.encoder.layer_norm",
    "decoder/layer_norm": "model.decoder.layer_norm",
}

ENCODER_LAYER_NAMES = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_1": "self_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}

DECODER_LAYER_NAMES = ENCODER_LAYER_NAMES | {
    "attention/layer_norm": "encoder_attn_layer_norm",
    "attention/linear_0": "encoder_attn.q_proj",
    "attention/linear_2": "encoder_attn.out_proj",
}

# what CTranslate2 keeps in one matrix, rows stacked in this order
SELF_ATTENTION_STACK = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")

CROSS_ATTENTION_STACK = ("encoder_attn.k_proj", "encoder_attn.v_proj")


def named_tensors(weights: ModelBin, config: "WhisperConfig") -> dict[str, np.ndarray]:
    """Every tensor of the model under its Hugging Face name, in float32."""
    tensors = {
        "model.decoder.embed_tokens.weight": weights.read("decoder/embeddings/weight"),
        "model.encoder.embed_positions.weight": weights.read("encoder/position_encodings/encodings"),
        "model.decoder.embed_positions.weight": weights.read("decoder/position_encodings/encodings"),
    }
    _check_tied(weights, tensors["model.decoder.embed_tokens.weight"])
    for source, target in STEM_NAMES.items():
        tensors |= _copied(weights, source, target)
    for layer in range(config.encoder_layers):
        tensors |= _layer(weights, "encoder", layer, ENCODER_LAYER_NAMES)
    for layer in range(config.decoder_layers):
        tensors |= _layer(weights, "decoder", layer, DECODER_LAYER_NAMES)
        source, target = f"decoder/layer_{layer}/attention/linear_1", f"model.decoder.layers.{layer}."
        tensors |= _unstacked(weights, source, [target + name for name in CROSS_ATTENTION_STACK])
    return tensors


def _check_tied(weights: ModelBin, embeddings: np.ndarray) -> None:
    """Whisper projects on its vocabulary with the embeddings; another projection could not be kept."""
    projection = "decoder/projection/weight"
    if projection in weights and not np.array_equal(weights.read(projection), embeddings):
        raise weights.error(f"has a {projection} of its own, expected the embeddings under another name")


def _layer(weights: ModelBin, side: str, layer: int, names: dict[str, str]) -> dict[str, np.ndarray]:
    source, target = f"{side}/layer_{layer}/", f"model.{side}.layers.{layer}."
    tensors: dict[str, np.ndarray] = {}
    for old, new in names.items():
        tensors |= _copied(weights, source + old, target + new)
    stack = [target + name for name in SELF_ATTENTION_STACK]
    return tensors | _unstacked(weights, source + "self_attention/linear_0", stack)


def _copied(weights: ModelBin, source: str, target: str) -> dict[str, np.ndarray]:
    """Weight and bias of a linear layer or convolution, or gamma and beta of a normalisation."""
    normalisation = source.endswith("layer_norm")
    weight, bias = ("gamma", "beta") if normalisation else ("weight", "bias")
    return {
        f"{target}.weight": weights.read(f"{source}/{weight}"),
        f"{target}.bias": weights.read(f"{source}/{bias}"),
    }


def _unstacked(weights: ModelBin, source: str, targets: list[str]) -> dict[str, np.ndarray]:
    """The projections that CTranslate2 stacks in one matrix, apart again."""
    weight, bias = weights.read(f"{source}/weight"), weights.read(f"{source}/bias")
    if len(weight) % len(targets) or len(weight) != len(bias):
        raise weights.error(
            f"has {len(weight)} rows and {len(bias)} biases in {source}, no {len(targets)} projections"
        )
    tensors: dict[str, np.ndarray] = {}
    parts = zip(targets, np.split(weight, len(targets)), np.split(bias, len(targets)), strict=True)
    for target, rows, biases in parts:
        tensors[f"{target}.weight"] = rows.copy()  # safetensors stores no two views of one memory
        # Whisper's keys have no bias; one would add the same to all scores of a query and so change nothing
        if not target.endswith("k_proj"):
            tensors[f"{target}.bias"] = biases.copy()
    return tensors


def check_every_weight_is_there(
    tensors: dict[str, np.ndarray], config: "WhisperConfig", folder: Path
) -> None:
    """Compare names and shapes with the model that transformers would build from `config`."""
    import torch
    from transformers import WhisperForConditionalGeneration

    with torch.device("meta"):
        model = WhisperForConditionalGeneration(config)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    expected.pop("proj_out.weight", None)  # tied to the embeddings
    found = {name: array.shape for name, array in tensors.items()}
    wrong = [name for name in expected if expected[name] != found.get(name)] + sorted(
        found.keys() - expected.keys()
    )
    if wrong:
        name = wrong[0]
        raise UserError(
            f"{folder / 'model.bin'}: {len(wrong)} tensors do not fit a Whisper model of width "
            f"{config.d_model}, such as {name}: found shape {found.get(name)}, expected "
            f"{expected.get(name)}. {NEW_CONVERSION}"
        )
