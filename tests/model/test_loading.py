"""The encoder at any length, the loss and saved folders, against transformers."""

import json
import shutil

import pytest
import torch
from torch import nn
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from utils.model.encoder import encode
from utils.model.languages import check_languages
from utils.model.loading import _complete_generation_config, load_model
from utils.model.loss import WhisperLoss
from utils.model.saving import save_model_folder
from utils.model.silence import SILENCE_RUN
from utils.model.whisper import allow_empty_texts, eval_mode
from utils.runtime.errors import UserError
from utils.text.label_tokens import IGNORED, LabelWriter, TimedTokens, encode_texts
from utils.training.batches import pad_tokens


@pytest.fixture(scope="module")
def loaded(tiny_whisper):
    return load_model(str(tiny_whisper))


@pytest.fixture(scope="module")
def speech(italian_prompts):
    """Log-mel features (2, 80, 3000) of two real prompts."""
    from transformers import WhisperFeatureExtractor

    clips = [waveform for waveform, _ in italian_prompts[:2]]
    return WhisperFeatureExtractor()(clips, sampling_rate=16_000, return_tensors="pt").input_features


def test_the_encoder_equals_transformers_at_3000_frames(loaded, speech):
    with torch.no_grad(), eval_mode(loaded.model):
        expected = loaded.model.model.encoder(speech).last_hidden_state
        torch.testing.assert_close(encode(loaded.model, speech), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("frames", [20, 260, 1230])
def test_shorter_inputs_equal_transformers_with_sliced_positions(loaded, speech, frames):
    encoder = loaded.model.model.encoder
    embed_positions = encoder.embed_positions
    with torch.no_grad(), eval_mode(loaded.model):
        found = encode(loaded.model, speech[..., :frames])
        encoder.embed_positions = nn.Embedding.from_pretrained(embed_positions.weight[: frames // 2])
        encoder.config.max_source_positions = frames // 2
        try:
            expected = encoder(speech[..., :frames]).last_hidden_state
        finally:
            encoder.embed_positions, encoder.config.max_source_positions = embed_positions, 1500
    assert found.shape == (2, frames // 2, loaded.model.config.d_model)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_loss_and_gradients_equal_transformers_forward(loaded, speech):
    model, config = loaded.model, loaded.model.config
    texts = ["Sì.", "Una frase molto più lunga della prima, con parecchie parole."]
    tokenizer = loaded.processor.tokenizer
    pieces = [TimedTokens(0.0, 1.0, tokens) for tokens in encode_texts(tokenizer, texts)]
    sequences = [LabelWriter(tokenizer).write([piece], "it") for piece in pieces]
    labels = pad_tokens([sequence.targets for sequence in sequences], IGNORED)
    num_tokens = int((labels != -100).sum())
    model.zero_grad()
    expected = model(speech, labels=labels).loss  # mean over the target tokens
    expected.backward()
    expected_gradients = take_gradients(model)
    inputs = pad_tokens([sequence.inputs for sequence in sequences], config.pad_token_id)
    found = WhisperLoss(model)(speech, inputs, labels) / num_tokens
    found.backward()
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)
    gradients = take_gradients(model)
    assert gradients.keys() == expected_gradients.keys() and len(gradients) > 60
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            gradient,
            expected_gradients[name],
            atol=1e-5,
            rtol=1e-4,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def take_gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    """Those that there are, by name; the model is left without."""
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return gradients


def test_a_saved_folder_loads_everywhere_with_its_generation_config(tiny_whisper, tmp_path):
    loaded = load_model(str(tiny_whisper))
    folder = tmp_path / "best"
    save_model_folder(
        folder,
        loaded.model,
        loaded.processor,
        arguments_yaml="audio_context: dynamic\n",
        results={"trainable_parameters": 7},
        card="# card\n",
    )
    again = load_model(str(folder))
    assert again.dynamic_context and again.trainable_parameters == 7
    generation_config = json.loads((folder / "generation_config.json").read_text())
    assert generation_config["lang_to_id"]["<|it|>"] == loaded.model.generation_config.lang_to_id["<|it|>"]
    assert (folder / "preprocessor_config.json").exists()
    features = torch.zeros(1, 80, 3000)
    WhisperForConditionalGeneration.from_pretrained(folder).generate(
        features, language="it", max_new_tokens=3
    )


@pytest.mark.parametrize(
    ("arguments", "known", "decoded"),
    [
        ("audio_context: dynamic\nsilence_run: 64\n", 64, 64),
        ("audio_context: dynamic\nsilence_run: 0\n", 0, 0),
        ("audio_context: full\nsilence_run: 0\n", None, SILENCE_RUN),
        (None, None, SILENCE_RUN),  # any other model
    ],
)
def test_a_model_is_decoded_with_the_silence_it_was_trained_with(
    tiny_whisper, tmp_path, arguments, known, decoded
):
    folder = shutil.copytree(tiny_whisper, tmp_path / "model")
    if arguments is not None:
        (folder / "train.yaml").write_text(arguments)
    loaded = load_model(str(folder))
    assert (loaded.silence_run, loaded.decoding_silence_run) == (known, decoded)


def test_a_folder_without_tokenizer_is_a_clear_error(tiny_whisper, tmp_path):
    folder = shutil.copytree(tiny_whisper, tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json"):
        (folder / name).unlink()
    with pytest.raises(UserError, match="token"):
        load_model(str(folder))


def test_a_tokenizer_of_another_model_is_a_clear_error(tiny_whisper, tmp_path):
    folder = shutil.copytree(tiny_whisper, tmp_path / "model")
    processor = WhisperProcessor.from_pretrained(folder)
    processor.tokenizer.add_tokens([f"<|new{index}|>" for index in range(9)], special_tokens=True)
    processor.tokenizer.save_pretrained(folder)
    with pytest.raises(UserError, match="the tokenizer has 1874 tokens, the model 1865"):
        load_model(str(folder))


def test_a_tokenizer_with_other_numbers_is_a_clear_error(tiny_whisper, tmp_path):
    """As the English-only tokenizer in a multilingual folder: fewer tokens, so every number fits."""
    folder = shutil.copytree(tiny_whisper, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    start = config["decoder_start_token_id"]
    (folder / "config.json").write_text(json.dumps(config | {"decoder_start_token_id": start + 1}))
    with pytest.raises(UserError, match=rf"<\|startoftranscript\|> is number {start} .* expects {start + 1}"):
        load_model(str(folder))


@pytest.mark.parametrize("damage", ["truncated", "another width"])
def test_weights_that_do_not_fit_are_a_clear_error(damage, tiny_whisper, tmp_path):
    folder = shutil.copytree(tiny_whisper, tmp_path / "model")
    if damage == "truncated":
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"d_model": 32}))
    with pytest.raises(UserError, match="not loadable as a Whisper model"):
        load_model(str(folder))


def test_a_multilingual_model_of_old_transformers_gets_its_languages_back():
    """Models tuned before generation configs told the languages would pass for English-only."""
    model = load_model("openai/whisper-base")
    expected = dict(model.model.generation_config.lang_to_id)
    del model.model.generation_config.lang_to_id
    _complete_generation_config(model.model, model.processor)
    assert model.model.generation_config.lang_to_id == expected and expected["<|it|>"] == 50274


def test_languages_must_be_known_and_given(tiny_whisper):
    model = load_model(str(tiny_whisper)).model
    assert check_languages(model, ["it", "en"], "m") == ["it", "en"]
    with pytest.raises(UserError, match="1 of 2 utterances have no language"):
        check_languages(model, ["it", None], "m")
    with pytest.raises(UserError, match="no token for the language qq"):
        check_languages(model, ["qq"], "m")
    model.generation_config.lang_to_id = None
    assert check_languages(model, ["en", None], "m") == [None, None]
    with pytest.raises(UserError, match="knows English only, the data is in it"):
        check_languages(model, ["it"], "m")


def test_the_end_may_come_first_once_that_is_allowed(tiny_whisper):
    model = load_model(str(tiny_whisper)).model
    config = model.generation_config
    config.begin_suppress_tokens = [32, config.eos_token_id]  # as Whisper's own: the space and the end
    allow_empty_texts(model)
    assert config.begin_suppress_tokens == [32]
    allow_empty_texts(model)
    assert config.begin_suppress_tokens == [32]
