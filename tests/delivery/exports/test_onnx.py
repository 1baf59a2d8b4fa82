"""ONNX files compute what transformers computes, under the names by which other programs ask for them."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession
from transformers import GenerationConfig, WhisperConfig, WhisperProcessor

from tests.support.real_vocabulary import build_source
from utils.delivery.exports import onnx as export
from utils.delivery.exports.onnx import ONNX
from utils.model.languages import add_language
from utils.model.whisper import whisper_of

TOKENS = [[50258, 50274, 50359, 50363, 440, 1002], [50258, 50259, 50359, 50363, 11, 7]]
PROMPT = 4  # tokens that are read at once


@pytest.fixture(scope="module")
def source():
    """Encoder and decoder have another number of heads, so that none can be taken for the other's."""
    return build_source(encoder_attention_heads=4)


@pytest.fixture(scope="module")
def exported(source, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    assert ONNX.write(source, folder, "float32") == []
    return folder


def features_of(model) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, model.config.num_mel_bins, 3000, generator=generator)


def run(session: InferenceSession, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))


def run_steps(decoder: InferenceSession, states: np.ndarray, ignored: int) -> list[dict[str, np.ndarray]]:
    """Outputs of the prompt and of each further token, fed as transformers.js and optimum feed them.

    At first the past has `ignored` positions; keys and values of the encoder's states are kept from then on.
    """
    ids, outputs = np.array(TOKENS), []
    inputs = [value for value in decoder.get_inputs() if value.name.startswith("past")]
    past = {v.name: np.full((2, v.shape[1], ignored, v.shape[3]), 9.0, np.float32) for v in inputs}
    for start, end in [(0, PROMPT), *((place, place + 1) for place in range(PROMPT, ids.shape[1]))]:
        step = {"input_ids": ids[:, start:end], "encoder_hidden_states": states}
        outputs.append(run(decoder, step | past | {"use_cache_branch": np.array([start > 0])}))
        for name, value in outputs[-1].items():
            if name.startswith("present") and (start == 0 or ".decoder." in name):
                past[name.replace("present", "past_key_values")] = value
    return outputs


def compare(source, folder: Path, suffix: str, tolerance: float, ignored: int = 0) -> None:
    """Encoder, logits and attentions against transformers: a prompt and two steps, two clips at once."""
    model = whisper_of(source.loaded.model)
    model.set_attn_implementation("eager")  # the other ones give no attentions
    encoder, decoder = (
        InferenceSession(folder / "onnx" / f"{name}{suffix}.onnx")
        for name in ("encoder_model", "decoder_model_merged")
    )
    with torch.inference_mode():
        expected = model(
            input_features=features_of(model), decoder_input_ids=torch.tensor(TOKENS), output_attentions=True
        )
    states = run(encoder, {"input_features": features_of(model).numpy()})["last_hidden_state"]
    assert_close(states, expected.encoder_last_hidden_state, tolerance)
    steps = run_steps(decoder, expected.encoder_last_hidden_state.numpy(), ignored)
    assert_close(np.concatenate([step["logits"] for step in steps], axis=1), expected.logits, tolerance)
    for layer, attention in enumerate(expected.cross_attentions):
        found = np.concatenate([step[f"cross_attentions.{layer}"] for step in steps], axis=2)
        assert_close(found, attention, tolerance)


def assert_close(found: np.ndarray, expected: torch.Tensor, tolerance: float) -> None:
    assert np.abs(found - expected.numpy()).max() <= tolerance * float(expected.abs().max())


@pytest.mark.parametrize("ignored", [0, 1])  # positions that transformers.js and optimum give at first
def test_float32_computes_the_same(source, exported, ignored):
    compare(source, exported, "", 1e-5, ignored)


@pytest.mark.parametrize(
    ("precision", "suffix", "tolerance", "share"),
    [("float16", "_fp16", 1e-2, 0.51), ("int8", "_quantized", 5e-2, 0.4)],
)
def test_smaller_weights_compute_nearly_the_same(
    source, exported, tmp_path, precision, suffix, tolerance, share
):
    ONNX.write(source, tmp_path, precision)
    compare(source, tmp_path, suffix, tolerance)
    decoder = tmp_path / "onnx" / f"decoder_model_merged{suffix}.onnx"
    assert decoder.stat().st_size < share * (exported / "onnx" / "decoder_model_merged.onnx").stat().st_size


def test_large_v3s_shape(tmp_path):
    """128 mels, 51,866 tokens, four decoder layers as turbo has them."""
    large = build_source(cantonese=True, num_mel_bins=128)
    ONNX.write(large, tmp_path, "float32")
    compare(large, tmp_path, "", 1e-5)


def test_files_names_and_shapes_are_those_of_optimum(source, exported):
    """As in https://huggingface.co/onnx-community/whisper-base_timestamped, which transformers.js loads."""
    assert {str(path.relative_to(exported)) for path in exported.rglob("*") if path.is_file()} == {
        *("config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json"),
        *("tokenizer.json", "tokenizer_config.json"),
        *("onnx/encoder_model.onnx", "onnx/decoder_model_merged.onnx"),
    }
    for path in (exported / "onnx").iterdir():
        onnx.checker.check_model(path, full_check=True)
    encoder = InferenceSession(exported / "onnx" / "encoder_model.onnx")
    assert [(v.name, v.shape) for v in encoder.get_inputs()] == [("input_features", ["batch_size", 80, 3000])]
    assert [(v.name, v.shape) for v in encoder.get_outputs()] == [
        ("last_hidden_state", ["batch_size", 1500, 64])
    ]
    decoder = InferenceSession(exported / "onnx" / "decoder_model_merged.onnx")
    cache = [
        f"{i}.{of}.{kind}" for i in range(4) for of in ("decoder", "encoder") for kind in ("key", "value")
    ]
    inputs = {value.name: (value.type, value.shape) for value in decoder.get_inputs()}
    assert list(inputs) == [
        *("input_ids", "encoder_hidden_states"),
        *(f"past_key_values.{name}" for name in cache),
        "use_cache_branch",
    ]
    assert inputs["use_cache_branch"] == ("tensor(bool)", [1])
    assert inputs["past_key_values.0.decoder.key"][1] == ["batch_size", 2, "past_decoder_sequence_length", 32]
    assert [value.name for value in decoder.get_outputs()] == [
        "logits",
        *(f"present.{name}" for name in cache),
        *(f"cross_attentions.{i}" for i in range(4)),
    ]


def test_the_steps_share_their_weights(source, exported):
    parameters = sum(p.numel() for p in whisper_of(source.loaded.model).parameters())
    stored = [onnx.load(path).graph.initializer for path in (exported / "onnx").iterdir()]
    assert sum(int(np.prod(value.dims)) for values in stored for value in values) == parameters


def test_the_folder_keeps_what_decoding_needs(source, exported):
    model = whisper_of(source.loaded.model)
    loaded = GenerationConfig.from_pretrained(exported)
    assert loaded.lang_to_id == model.generation_config.lang_to_id
    assert loaded.suppress_tokens == model.generation_config.suppress_tokens
    assert WhisperConfig.from_pretrained(exported).d_model == 64
    assert WhisperProcessor.from_pretrained(exported).tokenizer.decode([50274]) == "<|it|>"


def test_weights_of_two_gigabytes_have_a_file_of_their_own(source, tmp_path, monkeypatch):
    """The limit is lowered to a size that the decoder exceeds and the encoder does not."""
    monkeypatch.setattr(export, "LARGEST_FILE", 2_000_000)
    (note,) = ONNX.write(source, tmp_path, "float32")
    assert "decoder_model_merged.onnx_data" in note
    names = {path.name for path in (tmp_path / "onnx").iterdir()}
    assert names == {"encoder_model.onnx", "decoder_model_merged.onnx", "decoder_model_merged.onnx_data"}
    assert json.loads((tmp_path / "config.json").read_text())["transformers.js_config"] == {
        "use_external_data_format": {"decoder_model_merged.onnx": True}
    }
    compare(source, tmp_path, "", 1e-5)
    assert not hasattr(whisper_of(source.loaded.model).config, "transformers.js_config")


def test_an_added_language_is_told_by_its_tokens(tmp_path):
    source = build_source()
    add_language(source.loaded.model, source.loaded.processor, "nap")
    (note,) = ONNX.write(source, tmp_path, "float32")
    assert '"nap"' in note and "{decoder_input_ids: [50258, 51865, 50359, 50363]}" in note


def test_what_the_graphs_cannot_hold_is_told():
    source = build_source()
    model = whisper_of(source.loaded.model)
    model.generation_config.alignment_heads = [[3, 1]]
    assert ONNX.find_problems(source, "float16") == []
    model.config.activation_function = "relu"
    model.generation_config.alignment_heads = [[4, 0]]
    with torch.no_grad():
        model.model.encoder.conv1.bias[0] = 1e5
    heads, half, activation = ONNX.find_problems(source, "float16")
    assert "alignment_heads has [4, 0]" in heads and "100000" in half.replace("1e+05", "100000")
    assert activation.startswith("config.json: the activation function is relu, expected gelu.")
    assert len(ONNX.find_problems(source, "float32")) == 2
