"""OpenAI's checkpoint: languages that were added, and what is refused."""

from dataclasses import asdict, replace

import pytest
import torch

from tests.support.real_vocabulary import build_source
from utils.delivery.exports.export_format import load_export_source
from utils.delivery.exports.openai import CHECKPOINT, OPENAI
from utils.model.languages import add_language
from utils.model.whisper import whisper_of


def test_an_added_language_stands_at_the_place_of_cantonese(tmp_path):
    import whisper
    from whisper.tokenizer import get_tokenizer

    built = build_source()
    added = add_language(built.loaded.model, built.loaded.processor, "xx")
    assert OPENAI.find_problems(built, "float32") == []
    notes = OPENAI.write(built, tmp_path, "float32")
    assert "the language xx by the code yue" in notes[-1]
    model = whisper.load_model(str(tmp_path / CHECKPOINT), device="cpu")
    theirs = get_tokenizer(True, num_languages=model.num_languages, language="yue").special_tokens
    ours = dict(built.loaded.processor.tokenizer.get_vocab()) | {"<|yue|>": added}
    names = ["<|startoftranscript|>", "<|yue|>", "<|transcribe|>", "<|0.00|>", "<|30.00|>", "<|su|>"]
    features = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = model(features, torch.tensor([[theirs[name] for name in names]]))[0]
        ids = torch.tensor([[ours[name] for name in names]])
        expected = built.loaded.model(input_features=features, decoder_input_ids=ids).logits[0]
    tolerance = 1e-5 * float(expected.abs().max())
    for name in [*names, "<|endoftext|>", "<|nospeech|>", "<|notimestamps|>", "<|12.34|>"]:
        here = ours.get(name, ours.get("<|nocaptions|>"))
        torch.testing.assert_close(found[:, theirs[name]], expected[:, here], atol=tolerance, rtol=0)
    torch.testing.assert_close(found[:, :50257], expected[:, :50257], atol=tolerance, rtol=0)


def test_the_file_is_as_openais_own(tmp_path):
    """Nothing but plain tensors and numbers, in the dimensions of OpenAI's record."""
    from whisper.model import ModelDimensions

    built = build_source(cantonese=True, num_mel_bins=128)
    assert OPENAI.find_problems(built, "float16") == []
    OPENAI.write(built, tmp_path, "float16")
    stored = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    dims = asdict(ModelDimensions(**stored["dims"]))
    audio, text = [dims[f"n_{part}_layer"] for part in ("audio", "text")]
    assert (dims["n_mels"], dims["n_vocab"], audio, text) == (128, 51866, 2, 4)
    assert stored["added_language"] is None
    assert (tmp_path / CHECKPOINT).stat().st_size < 2.1 * sum(
        parameter.numel() for parameter in built.loaded.model.parameters()
    )


@pytest.mark.parametrize(
    ("cantonese", "codes", "message"),
    [
        (False, ["xx", "zz"], "2 languages were added to Whisper (xx, zz)"),
        (True, ["xx"], "had 51,865 tokens before: all but large-v3 and turbo"),
    ],
)
def test_a_language_without_a_place_is_refused(cantonese, codes, message):
    built = build_source(cantonese=cantonese)
    for code in codes:
        add_language(built.loaded.model, built.loaded.processor, code)
    (problem,) = OPENAI.find_problems(built, "float32")
    assert message in problem


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"decoder_ffn_dim": 128}, "decoder_ffn_dim is 128, expected 256"),
        ({"num_mel_bins": 40}, "num_mel_bins is 40, expected 80 or 128"),
        ({"max_source_positions": 750}, "max_source_positions is 750, expected 1500"),
    ],
)
def test_a_shape_that_openais_code_cannot_build_is_refused(shape, message):
    (problem,) = OPENAI.find_problems(build_source(**shape), "float32")
    assert message in problem and "huggingface or ctranslate2" in problem


def test_another_vocabulary_is_refused(tiny_whisper):
    problems = OPENAI.find_problems(load_export_source(str(tiny_whisper)), "float32")
    assert "vocab_size is 1865, expected 51864 or 51865 or 51866" in problems[-1]


def test_tokens_with_other_numbers_are_refused():
    """As many tokens as large-v3, but in another order."""
    built, other = build_source(cantonese=True), build_source()
    mixed = replace(built, loaded=replace(built.loaded, processor=other.loaded.processor))
    (problem,) = OPENAI.find_problems(mixed, "float32")
    assert "tokenizer.json: <|" in problem and "expected" in problem


def test_a_head_that_the_decoder_lacks_and_weights_beyond_float16_are_refused():
    built = build_source()
    model = whisper_of(built.loaded.model)
    model.generation_config.alignment_heads = [[9, 0]]
    with torch.no_grad():
        model.model.encoder.conv1.bias[0] = 1e6
    assert len(OPENAI.find_problems(built, "float32")) == 1
    assert len(OPENAI.find_problems(built, "float16")) == 2
