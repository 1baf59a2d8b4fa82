"""The ggml file, read by hand and run in OpenAI's own code, and what whisper.cpp cannot hold."""

import base64
import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import whisper

from tests.support.ggml_reader import GgmlContent, read_by_hand
from tests.support.real_vocabulary import build_source
from utils.delivery.exports.export_format import ExportSource
from utils.delivery.exports.ggml import ALIGNMENTS, GGML
from utils.delivery.exports.ggml_file import CODES_FILE
from utils.model.languages import add_language


def write(source: ExportSource, folder: Path, precision: str = "f16") -> Path:
    folder.mkdir(exist_ok=True)
    GGML.write(source, folder, precision)
    (path,) = folder.glob("*.bin")
    return path


@pytest.fixture(scope="module")
def source() -> ExportSource:
    return build_source()


@pytest.fixture(scope="module")
def large_v3() -> ExportSource:
    return build_source(cantonese=True, num_mel_bins=128)


@pytest.fixture(scope="module")
def written(source, tmp_path_factory) -> Path:
    return write(source, tmp_path_factory.mktemp("ggml"))


def logits_of_openai(content: GgmlContent) -> torch.Tensor:
    """What OpenAI's own code computes with the tensors of a file, which it must all know by their names."""
    from whisper.model import ModelDimensions, Whisper

    _, vocab, audio, state, head, layer, text, text_state, text_head, text_layer, mels, _ = content.header
    sizes = (mels, audio, state, head, layer, vocab, text, text_state, text_head, text_layer)
    theirs = Whisper(ModelDimensions(*sizes)).eval()
    weights = {name: torch.tensor(values) for name, values in content.tensors.items()}
    for name in ("encoder.conv1.bias", "encoder.conv2.bias"):
        assert weights[name].shape == (state, 1)
        weights[name] = weights[name][:, 0]
    theirs.load_state_dict(weights)
    with torch.inference_mode():
        return theirs(*example(mels))


def logits_of_transformers(source: ExportSource) -> torch.Tensor:
    model = source.loaded.model
    features, ids = example(model.config.num_mel_bins)
    with torch.inference_mode():
        return model(features, decoder_input_ids=ids).logits


def example(num_mels: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, num_mels, 3000, generator=generator), torch.tensor(
        [[50258, 50274, 50359, 50363, 7]]
    )


def test_head_has_the_models_dimensions_filters_and_tokens(written):
    from whisper.audio import mel_filters
    from whisper.tokenizer import get_encoding

    content = read_by_hand(written)
    assert written.name == "ggml-model.bin" and not (written.parent / CODES_FILE).exists()
    assert content.header == (0x67676D6C, 51865, 1500, 64, 2, 2, 448, 64, 2, 4, 80, 1)
    np.testing.assert_allclose(content.mel_filters, mel_filters("cpu", 80), atol=1e-7)
    encoding = get_encoding("multilingual")
    assert content.tokens == [encoding.decode_single_token_bytes(number) for number in range(50257)]


@pytest.mark.parametrize(
    ("precision", "name", "header_number", "tolerance"),
    [
        ("f16", "ggml-model.bin", 1, 0.002),
        ("q8_0", "ggml-model-q8_0.bin", 2007, 0.02),
        ("q5_0", "ggml-model-q5_0.bin", 2008, 0.2),
    ],
)
def test_openais_code_computes_the_same_with_the_tensors(
    source, tmp_path, precision, name, header_number, tolerance
):
    path = write(source, tmp_path, precision)
    content = read_by_hand(path)
    assert (path.name, content.header[-1]) == (name, header_number)
    expected, found = logits_of_transformers(source), logits_of_openai(content)
    assert (found - expected).norm() < tolerance * expected.norm()
    matrices = {key for key, values in content.tensors.items() if values.ndim == 2 and values.shape[1] > 1}
    matrices -= {"encoder.positional_embedding", "decoder.positional_embedding"}
    convolutions = {"encoder.conv1.weight", "encoder.conv2.weight"}
    assert {key for key, kind in content.types.items() if kind == precision} == (
        matrices | convolutions if precision == "f16" else matrices
    )
    assert {content.types[key] for key in convolutions} == {"f16"}
    assert {content.types[key] for key in content.types.keys() - matrices - convolutions} == {"f32"}


def test_large_v3s_mels_and_tokens(large_v3, tmp_path):
    assert GGML.find_problems(large_v3, "f16") == []
    content = read_by_hand(write(large_v3, tmp_path))
    assert content.header == (0x67676D6C, 51866, 1500, 64, 2, 2, 448, 64, 2, 4, 128, 1)
    assert content.mel_filters.shape == (128, 201)
    expected, found = logits_of_transformers(large_v3), logits_of_openai(content)
    assert (found - expected).norm() < 0.002 * expected.norm()


def test_an_added_language_takes_the_place_of_cantonese(tmp_path):
    """Every text, special and timestamp token is where whisper.cpp looks for it among 51,866."""
    changed = build_source()
    add_language(changed.loaded.model, changed.loaded.processor, "nap")
    assert GGML.find_problems(changed, "f16") == []
    path = write(changed, tmp_path)
    content = read_by_hand(path)
    assert content.header[1] == 51866
    rows = torch.tensor(content.tensors["decoder.token_embedding.weight"])
    before = changed.loaded.model.model.decoder.embed_tokens.weight.detach()
    assert torch.allclose(rows[50358], before[51865], atol=1e-3)
    assert torch.allclose(rows[:50358], before[:50358], atol=1e-3)
    assert torch.allclose(rows[50359:], before[50358:51865], atol=1e-3)
    assert json.loads((tmp_path / CODES_FILE).read_text()) == {"nap": "yue"}
    notes = GGML.write(changed, tmp_path, "f16")
    assert any("nap" in note and "yue" in note for note in notes) and "--language yue" in notes[0]


def test_notes_name_the_heads_that_whisper_cpp_knows(tmp_path):
    """Base's heads and layers; a decoder of two layers is one of the first distilled models for it."""
    base = build_source(
        encoder_layers=6, decoder_layers=6, d_model=32, encoder_ffn_dim=128, decoder_ffn_dim=128
    )
    heads = [[3, 1], [4, 2], [4, 3], [4, 7], [5, 1], [5, 2], [5, 4], [5, 6]]
    base.loaded.model.generation_config.alignment_heads = heads
    assert any("--dtw base --no-flash-attn" in note for note in GGML.write(base, tmp_path, "f16"))
    base.loaded.model.generation_config.alignment_heads = [*heads[:-1], [5, 7]]  # as many
    notes = GGML.write(base, tmp_path, "f16")
    assert any("no name" in note for note in notes) and not any("--dtw" in note for note in notes)
    notes = GGML.write(build_source(decoder_layers=2), tmp_path, "f16")
    assert any("no timestamps" in note for note in notes) and not any("--dtw" in note for note in notes)


def test_the_names_are_of_the_heads_that_openai_lists():
    widths = {"tiny": 6, "base": 8, "small": 12, "medium": 16, "large": 20}  # heads of a layer
    assert len(ALIGNMENTS) == 12
    for heads, name in ALIGNMENTS.items():
        dump = whisper._ALIGNMENT_HEADS[name.replace("large.", "large-").replace(".turbo", "-turbo")]
        mask = np.frombuffer(gzip.decompress(base64.b85decode(dump)), dtype=bool)
        listed = np.argwhere(mask.reshape(-1, widths[name.split(".")[0]]))
        assert heads == " ".join(f"{layer}.{head}" for layer, head in listed)


@pytest.mark.parametrize(
    ("shape", "precision", "words"),
    [
        ({"decoder_ffn_dim": 128}, "f16", r"decoder_ffn_dim is 128, expected 256"),
        ({"max_source_positions": 100}, "f16", r"max_source_positions is 100, expected 1500"),
        (
            {"d_model": 40, "encoder_ffn_dim": 160, "decoder_ffn_dim": 160},
            "q8_0",
            r"multiple of 32\. Take f16",
        ),
        ({"vocab_size": 51866}, "f16", r"translate\|> is number 50358, expected 50359"),
    ],
)
def test_what_whisper_cpp_cannot_hold_is_a_problem(shape, precision, words):
    (problem,) = GGML.find_problems(build_source(**shape), precision)
    assert re.search(words, problem)


def test_an_odd_width_is_no_problem_without_blocks():
    shape = {"d_model": 40, "encoder_ffn_dim": 160, "decoder_ffn_dim": 160}
    assert GGML.find_problems(build_source(**shape), "f16") == []


def test_there_is_room_for_one_added_language_and_none_in_large_v3():
    changed = build_source()
    for code in ("nap", "scn"):
        add_language(changed.loaded.model, changed.loaded.processor, code)
    full = build_source(cantonese=True)
    add_language(full.loaded.model, full.loaded.processor, "nap")
    for source in (changed, full):
        (problem,) = GGML.find_problems(source, "f16")
        assert "nap" in problem and "Export it with" in problem


def test_weights_beyond_float16_are_a_problem(source):
    changed = build_source()
    with torch.no_grad():
        changed.loaded.model.model.encoder.conv1.weight[0, 0, 0] = 1e5
    assert "conv1" in GGML.find_problems(changed, "q8_0")[0]
