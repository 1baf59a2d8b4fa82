"""Exports compute what their source computes, seen by the libraries for which they are made."""

import json

import numpy as np
import pytest
import torch

from tests.support.real_vocabulary import build_source
from utils.delivery.exports.ctranslate2 import CTRANSLATE2
from utils.delivery.exports.hugging_face import HUGGING_FACE
from utils.delivery.exports.openai import CHECKPOINT, OPENAI
from utils.model.whisper import whisper_of

HEADS = [[2, 0], [3, 1]]

TOKENS = [50258, 50274, 50359, 50363, 440, 1002]


@pytest.fixture(scope="module")
def source():
    built = build_source()
    whisper_of(built.loaded.model).generation_config.update(alignment_heads=HEADS)
    return built


@pytest.fixture(scope="module")
def expected(source) -> torch.Tensor:
    """Features of noise and the logits (T, vocabulary) of the source."""
    model = whisper_of(source.loaded.model)
    with torch.inference_mode():
        return model(input_features=features(model), decoder_input_ids=torch.tensor([TOKENS])).logits[0]


def features(model) -> torch.Tensor:
    return torch.randn(1, model.config.num_mel_bins, 3000, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("float16", 2e-2)])
def test_openai_whisper_computes_the_same(source, expected, tmp_path, precision, tolerance):
    import whisper

    notes = OPENAI.write(source, tmp_path, precision)
    stored = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert {tensor.dtype for tensor in stored["model_state_dict"].values()} == {getattr(torch, precision)}
    model = whisper.load_model(str(tmp_path / CHECKPOINT), device="cpu").float()
    with torch.inference_mode():
        found = model(features(whisper_of(source.loaded.model)), torch.tensor([TOKENS]))[0]
    assert torch.allclose(found, expected, atol=tolerance * float(expected.abs().max()))
    model.set_alignment_heads(stored["alignment_heads"])
    assert model.alignment_heads.indices().T.tolist() == HEADS
    assert "set_alignment_heads" in notes[0]


@pytest.mark.parametrize("precision", HUGGING_FACE.precisions)
def test_transformers_computes_the_same(source, expected, tmp_path, precision):
    from transformers import WhisperForConditionalGeneration

    HUGGING_FACE.write(source, tmp_path, precision)
    model = WhisperForConditionalGeneration.from_pretrained(tmp_path)
    assert model.dtype == getattr(torch, precision)
    with torch.inference_mode():
        model = model.float()
        found = model(input_features=features(model), decoder_input_ids=torch.tensor([TOKENS])).logits[0]
    tolerance = {"float32": 1e-6, "float16": 2e-2, "bfloat16": 1e-1}[precision]
    assert torch.allclose(found, expected, atol=tolerance * float(expected.abs().max()))


def test_ctranslate2_computes_the_same(source, tmp_path):
    from ctranslate2 import StorageView
    from ctranslate2.models import Whisper

    CTRANSLATE2.write(source, tmp_path, "float32")
    assert json.loads((tmp_path / "config.json").read_text())["alignment_heads"] == HEADS
    model = whisper_of(source.loaded.model)
    given = features(model)
    with torch.inference_mode():
        states = model.model.encoder(given).last_hidden_state[0]
    found = Whisper(str(tmp_path), compute_type="float32").encode(StorageView.from_array(given.numpy()))
    assert np.allclose(np.array(found)[0], states.numpy(), atol=1e-4)
