"""A new language: its token in tokenizer, embedding, labels and generation, saved, loaded and decoded."""

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor, pipeline

from tests.support.tiny_training import label_batch, logits_of
from tests.support.tones import flac_tone
from tests.support.transcribing import transcribe
from utils.model.adapter_options import AdapterOptions
from utils.model.adapters import add_adapter
from utils.model.decoding import detect_languages
from utils.model.languages import add_language, check_languages, language_ids
from utils.model.loading import load_model
from utils.model.loss import WhisperLoss
from utils.model.saving import save_model_folder
from utils.model.whisper import count_parameters
from utils.runtime.errors import UserError


@pytest.fixture
def loaded(tiny_whisper):
    return load_model(str(tiny_whisper))


def train_on_language(loaded, model, code: str, steps: int = 12) -> float:
    """AdamW steps on two clips of noise with texts in the language; returns the last loss."""
    inputs, labels = label_batch(loaded, ["mandi", "cemût"], code)
    torch.manual_seed(1)
    features = torch.randn(2, 80, 200)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(steps):
        loss = WhisperLoss(model)(features, inputs, labels) / int((labels != -100).sum())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


def test_the_new_row_starts_from_a_related_language_and_the_others_stay(loaded):
    before = loaded.model.model.decoder.embed_tokens.weight.detach().clone()
    token_id = add_language(loaded.model, loaded.processor, "fur", "it")
    weight = loaded.model.model.decoder.embed_tokens.weight
    assert token_id == len(before) == loaded.processor.tokenizer.convert_tokens_to_ids("<|fur|>")
    assert torch.equal(weight[:-1], before)
    assert torch.equal(weight[-1], before[loaded.processor.tokenizer.convert_tokens_to_ids("<|it|>")])
    assert loaded.model.proj_out.weight is weight and loaded.model.config.vocab_size == len(before) + 1


def test_without_a_related_language_it_is_the_mean_of_all(loaded):
    rows = [i for token, i in loaded.model.generation_config.lang_to_id.items()]
    expected = loaded.model.model.decoder.embed_tokens.weight[rows].mean(dim=0)
    token_id = add_language(loaded.model, loaded.processor, "fur")
    torch.testing.assert_close(loaded.model.model.decoder.embed_tokens.weight[token_id], expected)


@pytest.mark.parametrize(
    ("code", "init_from", "message"),
    [
        ("it", None, "the model already has a token for it"),
        ("fur", "italian", "init_language_from italian: the model has no token for it"),
        ("fur", "fur", "init_language_from fur"),
    ],
)
def test_codes_that_cannot_be(loaded, code, init_from, message):
    with pytest.raises(UserError, match=message):
        add_language(loaded.model, loaded.processor, code, init_from)


def test_an_english_model_takes_none(loaded):
    loaded.model.generation_config.lang_to_id = None
    with pytest.raises(UserError, match="knows English only"):
        add_language(loaded.model, loaded.processor, "fur")


def test_trained_saved_and_loaded_it_works_everywhere(loaded, tmp_path):
    token_id = add_language(loaded.model, loaded.processor, "fur", "it")
    before = loaded.model.model.decoder.embed_tokens.weight[token_id].detach().clone()
    train_on_language(loaded, loaded.model, "fur")
    row = loaded.model.model.decoder.embed_tokens.weight[token_id].detach()
    assert not torch.equal(row, before)
    folder = tmp_path / "m"
    save_model_folder(folder, loaded.model, loaded.processor, arguments_yaml="{}", results={}, card="")

    again = load_model(str(folder))
    assert language_ids(again.model)["fur"] == token_id
    assert check_languages(again.model, ["fur", "it"], "m") == ["fur", "it"]
    torch.testing.assert_close(again.model.proj_out.weight[token_id], row)

    model, processor = (
        WhisperForConditionalGeneration.from_pretrained(folder),
        WhisperProcessor.from_pretrained(folder),
    )
    features = torch.randn(1, 80, 3000)
    by_code = model.generate(features, language="fur", max_new_tokens=6)
    by_token = model.generate(features, language="<|fur|>", max_new_tokens=6)
    start = torch.tensor([[processor.tokenizer.convert_tokens_to_ids(t) for t in PROMPT]])
    by_prompt = model.generate(features, decoder_input_ids=start, max_new_tokens=6)
    assert torch.equal(by_code, by_token)
    assert by_prompt.flatten().tolist()[-6:] == by_code.flatten().tolist()[-6:]
    assert processor.tokenizer.decode(start[0], skip_special_tokens=True) == ""

    recogniser = pipeline("automatic-speech-recognition", model=str(folder))
    samples = {"raw": np.zeros(16_000, dtype=np.float32), "sampling_rate": 16_000}
    for timestamps in (False, True):
        options = {"language": "fur", "max_new_tokens": 6}
        found = recogniser(dict(samples), return_timestamps=timestamps, generate_kwargs=options)
        assert "fur" not in found["text"] and "|" not in found["text"]


PROMPT = ("<|startoftranscript|>", "<|fur|>", "<|transcribe|>", "<|notimestamps|>")


def test_own_decoding_knows_it_and_never_writes_it(loaded):
    loaded.model.generation_config.suppress_tokens = [1, 2]
    token_id = add_language(loaded.model, loaded.processor, "fur", "it")
    clips, durations = [flac_tone(1.0)], [1.0]
    options = {"audio_context": "full", "batch_size": 1, "max_length": 10}
    (text,) = transcribe(loaded.model, loaded.processor, clips, durations, ["fur"], **options)
    # its row is that of Italian still, so the text is too
    assert text == transcribe(loaded.model, loaded.processor, clips, durations, ["it"], **options)[0]
    assert loaded.model.generation_config.suppress_tokens == [1, 2, token_id]


def test_whisper_base_keeps_its_timestamps():
    """transformers counts timestamps from the last of `all_special_ids`, where the new token must not be."""
    loaded = load_model("openai/whisper-base")
    token_id = add_language(loaded.model, loaded.processor, "fur", "it")
    tokenizer = loaded.processor.tokenizer
    assert token_id == 51865 and loaded.model.proj_out.weight.shape == (51866, 512)
    stamped = [50374, *tokenizer(" a", add_special_tokens=False).input_ids, 50414]
    assert tokenizer.decode(stamped, decode_with_timestamps=True) == "<|0.20|> a<|1.00|>"
    prompt = tokenizer.convert_tokens_to_ids(list(PROMPT))
    assert prompt == [50258, 51865, 50359, 50363]
    assert tokenizer.decode([*prompt, *stamped], skip_special_tokens=True) == " a"


def test_detection_can_find_it(loaded):
    add_language(loaded.model, loaded.processor, "fur")
    states = torch.randn(3, 50, 64)
    found = [code for code, _ in detect_languages(loaded.model, states)]
    assert set(found) <= set(language_ids(loaded.model))
    embedding = loaded.model.model.decoder.embed_tokens.weight
    start = torch.full((3, 1), loaded.model.config.decoder_start_token_id)
    hidden = loaded.model.model.decoder(input_ids=start, encoder_hidden_states=states).last_hidden_state
    with torch.no_grad():
        embedding[-1] = 10 * hidden[0, -1] / hidden[0, -1].norm()  # what the first clip's state points to
    assert detect_languages(loaded.model, states)[0][0] == "fur"


@pytest.mark.parametrize("peft_type", ["lora", "adalora"])
def test_an_adapter_trains_the_new_row_alone_and_brings_it_along(loaded, tiny_whisper, tmp_path, peft_type):
    from safetensors.torch import load_file

    token_id = add_language(loaded.model, loaded.processor, "fur", "it")
    adapter = AdapterOptions(peft_type=peft_type, lora_r=4, lora_dropout=0.0, lora_target_modules=["q_proj"])
    model = add_adapter(loaded.model, str(tiny_whisper), adapter, [token_id])
    rank = 4 if peft_type == "lora" else 6
    singular_values = 0 if peft_type == "lora" else 6 * 6
    assert count_parameters(model)[0] == 6 * rank * 128 + singular_values + 64
    base = loaded.model.model.decoder.embed_tokens.original_module.weight
    before = base.detach().clone()
    train_on_language(loaded, model, "fur")
    assert torch.equal(base, before)
    expected = logits_of(model)
    save_model_folder(tmp_path / "a", model, loaded.processor, arguments_yaml="{}", results={}, card="")
    assert max(v.numel() for v in load_file(tmp_path / "a/adapter_model.safetensors").values()) <= rank * 64

    merged = load_model(str(tmp_path / "a")).model
    torch.testing.assert_close(logits_of(merged), expected, atol=1e-5, rtol=1e-4)
    weight = merged.model.decoder.embed_tokens.weight
    assert merged.proj_out.weight is weight and not torch.equal(weight[token_id], before[token_id])
    assert torch.equal(weight[:token_id], before[:token_id])
    assert language_ids(merged)["fur"] == token_id
    merged.generate(torch.randn(1, 80, 3000), language="fur", max_new_tokens=3)
    going_on = load_model(str(tmp_path / "a"), keep_adapter=True).model
    torch.testing.assert_close(logits_of(going_on), expected, atol=1e-5, rtol=1e-4)
    assert count_parameters(going_on)[0] == count_parameters(model)[0]


@pytest.mark.parametrize("task", ["transcribe", "translate"])
def test_decoding_with_a_task_gives_the_tokens_of_generate(loaded, task):
    from utils.audio.flac import decode_flac

    clip = flac_tone(2.0)
    waveform = decode_flac(clip)
    features = loaded.processor.feature_extractor(
        waveform, sampling_rate=16_000, return_tensors="pt"
    ).input_features
    expected = loaded.model.generate(
        features, language="it", task=task, max_new_tokens=8, do_sample=False, num_beams=1
    )
    (found,) = transcribe(
        loaded.model,
        loaded.processor,
        [clip],
        [2.0],
        ["it"],
        audio_context="full",
        batch_size=1,
        max_length=12,
        task=task,
    )
    text = loaded.processor.tokenizer.batch_decode(expected[:, -8:], skip_special_tokens=True)[0]
    assert found == text.strip()
