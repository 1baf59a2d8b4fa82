"""Our greedy loop against `model.generate`, and independence of batch size and neighbours."""

import copy

import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

from tests.support.transcribing import transcribe
from utils.audio.flac import encode_flac
from utils.model.context import dynamic_context
from utils.model.decoding import decode_clips, decode_greedily, detect_languages
from utils.model.encoded_clips import EncodedClips, encode_in_contexts
from utils.model.encoder import encode
from utils.model.loading import load_model
from utils.model.transcription import plan_decoding
from utils.text.label_tokens import prompt_tokens


@pytest.fixture(scope="module")
def base():
    return load_model("openai/whisper-base")


@pytest.fixture(scope="module")
def tiny(tiny_whisper):
    return load_model(str(tiny_whisper))


@pytest.fixture(scope="module")
def spelling(spelling_whisper):
    return load_model(str(spelling_whisper))


@pytest.fixture(scope="module")
def clips(italian_prompts):
    return [encode_flac(waveform) for waveform, _ in italian_prompts]


@pytest.fixture(scope="module")
def durations(italian_prompts):
    return [len(waveform) / 16_000 for waveform, _ in italian_prompts]


def decode(loaded, clips, durations, *, audio_context="full", batch_size=4, max_length=64):
    languages = ["it"] * len(clips)
    return transcribe(
        loaded.model,
        loaded.processor,
        clips,
        durations,
        languages,
        audio_context=audio_context,
        batch_size=batch_size,
        max_length=max_length,
    )


def test_full_context_gives_the_text_of_generate_in_a_language_given_or_detected(
    base, clips, durations, italian_prompts
):
    waveforms = [waveform for waveform, _ in italian_prompts[:2]]
    options = {"sampling_rate": 16_000, "return_tensors": "pt"}
    features = base.processor.feature_extractor(waveforms, **options).input_features
    with torch.no_grad():
        ids = base.model.generate(features, language="it", task="transcribe", num_beams=1, do_sample=False)
    expected = [text.strip() for text in base.processor.tokenizer.batch_decode(ids, skip_special_tokens=True)]
    found = transcribe(
        base.model,
        base.processor,
        clips[:2],
        durations[:2],
        ["it", None],
        audio_context="full",
        batch_size=2,
        max_length=448,
    )
    assert found == expected


def test_a_tiny_random_model_agrees_with_generate_to_the_length_limit(
    spelling, clips, durations, italian_prompts
):
    waveforms = [waveform for waveform, _ in italian_prompts]
    features = spelling.processor.feature_extractor(
        waveforms, sampling_rate=16_000, return_tensors="pt"
    ).input_features
    with torch.no_grad():
        ids = spelling.model.generate(features, language="it", task="transcribe", max_new_tokens=20)
    expected = [
        text.strip() for text in spelling.processor.tokenizer.batch_decode(ids, skip_special_tokens=True)
    ]
    assert decode(spelling, clips, durations, max_length=24) == expected
    assert len(set(expected)) > 3 and min(map(len, expected)) > 10


def test_a_loop_is_cut_short(tiny, italian_prompts, monkeypatch):
    """A random model repeats itself for ever."""
    options = {"sampling_rate": 16_000, "return_tensors": "pt"}
    features = tiny.processor.feature_extractor(italian_prompts[0][0], **options).input_features
    prompt = torch.tensor([prompt_tokens(tiny.processor.tokenizer, "it")])
    with torch.no_grad():
        states = encode(tiny.model, features)
        (cut,) = decode_greedily(tiny.model, EncodedClips(states), prompt, 204)
        monkeypatch.setattr("utils.model.decoding.loop_period", lambda tokens: None)
        (whole,) = decode_greedily(tiny.model, EncodedClips(states), prompt, 204)
    assert len(whole) == 200 and 48 <= len(cut) < 160
    assert whole[: len(cut)] == cut
    assert len(set(cut[-48:])) <= 12


@pytest.mark.parametrize("audio_context", ["full", "dynamic"])
def test_batch_size_and_order_do_not_matter(spelling, clips, durations, audio_context):
    clips, durations = clips[:4], durations[:4]
    options = {"audio_context": audio_context, "max_length": 20}
    one_by_one = decode(spelling, clips, durations, batch_size=1, **options)
    assert decode(spelling, clips, durations, batch_size=4, **options) == one_by_one
    backwards = decode(spelling, clips[::-1], durations[::-1], batch_size=3, **options)
    assert backwards[::-1] == one_by_one
    assert len(set(one_by_one)) > 1


def test_languages_are_detected_as_transformers_does(tiny):
    """What a random model takes noise for: several languages, each clip its own."""
    states = 100 * torch.randn(8, 20, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ids = tiny.model.detect_language(encoder_outputs=BaseModelOutput(states))
        found = [code for code, _ in detect_languages(tiny.model, states)]
    assert [f"<|{code}|>" for code in found] == tiny.processor.tokenizer.convert_ids_to_tokens(ids)
    assert len(set(found)) > 3


class Preference(torch.nn.Module):
    """In place of a projection: some tokens, the likeliest first, whatever the audio."""

    def __init__(self, tokens: list[int], vocab_size: int) -> None:
        super().__init__()
        self.logits = torch.zeros(vocab_size).index_put_(
            (torch.tensor(tokens),), torch.arange(float(len(tokens)), 0, -1)
        )

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.logits.repeat(*states.shape[:-1], 1)


def test_suppressed_tokens_are_never_chosen_and_some_not_as_the_first(tiny):
    model = copy.deepcopy(tiny.model)
    config = model.generation_config
    config.suppress_tokens, config.begin_suppress_tokens = [1, 2], [3, config.eos_token_id]
    prompts = torch.tensor([prompt_tokens(tiny.processor.tokenizer, "it")] * 2)
    texts = []
    for liked in ([2, 1, 3, 7], [2, config.eos_token_id, 1, 7]):
        model.proj_out = Preference(liked, model.config.vocab_size)
        with torch.no_grad():
            texts.append(decode_greedily(model, EncodedClips(torch.zeros(2, 5, 64)), prompts, 7))
    assert texts == [[[7, 3, 3]] * 2, [[7]] * 2]


def test_every_clip_is_decoded_once_in_the_context_of_its_own_duration():
    durations = [3.0, 0.4, 12.0, 3.1, 29.99, 0.3]
    batches = list(plan_decoding(durations, "dynamic", 2))
    assert sorted(index for batch in batches for index in batch.indices) == list(range(6))
    for batch in batches:
        assert len(batch.indices) <= 2
        assert batch.contexts == tuple(dynamic_context(durations[index], 0.5) for index in batch.indices)
    assert {context for batch in plan_decoding(durations, "full", 2) for context in batch.contexts} == {30.0}


def test_progress_is_told_of_every_clip(tiny, clips, durations):
    told = []
    transcribe(
        tiny.model,
        tiny.processor,
        clips,
        durations,
        [None] * len(clips),
        audio_context="dynamic",
        batch_size=3,
        max_length=8,
        on_batch=lambda number, seconds: told.append((number, seconds)),
    )
    assert sum(number for number, _ in told) == len(clips)
    assert sum(seconds for _, seconds in told) == pytest.approx(sum(durations))


# ---- temperature and previous text -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def waveforms(italian_prompts):
    return [samples for samples, _ in italian_prompts[:3]]


def decode_spelling(spelling, clips, **options):
    languages, contexts = ["it"] * len(clips), [30.0] * len(clips)
    options = {"max_length": 24} | options
    return decode_clips(spelling.model.eval(), spelling.processor, clips, languages, contexts, **options)


def test_tokens_are_drawn_with_the_chances_of_the_softmax_at_the_temperature(tiny):
    """Logits of 3, 2 and 1; all other tokens are suppressed."""
    model = copy.deepcopy(tiny.model)
    model.proj_out = Preference([7, 8, 9], model.config.vocab_size)
    others = set(range(model.config.vocab_size)) - {7, 8, 9}
    model.generation_config.suppress_tokens = sorted(others)
    prompts = torch.tensor([prompt_tokens(tiny.processor.tokenizer, "it")])
    for temperature in (0.5, 1.0):
        drawn: list[int] = []
        for seed in range(4):
            torch.manual_seed(seed)
            encoded = EncodedClips(torch.zeros(1, 1, 64))
            with torch.no_grad():
                (tokens,) = decode_greedily(model, encoded, prompts, 104, temperature)
            drawn += tokens
        chances = (torch.tensor([3.0, 2.0, 1.0]) / temperature).softmax(0).tolist()
        assert len(drawn) == 400
        assert [drawn.count(token) / 400 for token in (7, 8, 9)] == pytest.approx(chances, abs=0.08)


def test_other_clips_have_no_influence_on_what_is_drawn(spelling, waveforms):
    torch.manual_seed(3)
    together = decode_spelling(spelling, waveforms, temperature=0.8).texts
    alone = []
    for samples in waveforms[::-1]:
        torch.manual_seed(3)
        alone += decode_spelling(spelling, [samples], temperature=0.8).texts
    assert alone[::-1] == together


def test_a_clip_is_read_otherwise_when_warm_and_the_same_again_with_the_seed(spelling, waveforms):
    texts = []
    for temperature in (0.0, 0.0, 1e-3, 0.8, 0.8):
        torch.manual_seed(1)
        texts.append(decode_spelling(spelling, waveforms, temperature=temperature).texts)
    assert texts[0] == texts[1] == texts[2] != texts[3] == texts[4]


def test_the_previous_text_stands_before_the_prompt_and_is_no_part_of_the_result(spelling, waveforms):
    """As `generate` does with `prompt_ids`."""
    tokenizer, model = spelling.processor.tokenizer, spelling.model
    previous = tokenizer(" Anna Rossi", add_special_tokens=False).input_ids
    limit = 1 + len(previous) + 4 + 20
    found = decode_spelling(spelling, waveforms, previous=previous, max_length=limit)
    assert found.texts != decode_spelling(spelling, waveforms).texts and found.languages == ["it"] * 3
    options = {"sampling_rate": 16_000, "return_tensors": "pt"}
    features = spelling.processor.feature_extractor(waveforms, **options).input_features
    prompt_ids = torch.tensor(tokenizer.get_prompt_ids("Anna Rossi"))
    with torch.no_grad():
        ids = model.generate(
            features, language="it", task="transcribe", prompt_ids=prompt_ids, max_new_tokens=20
        )
    decoded = tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert [text.removeprefix(" Anna Rossi").strip() for text in decoded] == found.texts
    assert all(len(text) > 10 for text in found.texts)


class EndOfTheFirst(torch.nn.Module):
    """A projection with which the first clip ends after one token."""

    def __init__(self, projection: torch.nn.Module, end: int) -> None:
        super().__init__()
        self.projection, self.end, self.calls = projection, end, 0

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        logits = self.projection(states)
        self.calls += 1
        logits[0, self.end] += 1e4 * (self.calls == 2)
        return logits


def test_the_encoder_output_is_that_of_all_clips_when_the_decoder_has_finished(spelling, waveforms):
    contexts = [8.0, 7.5, 8.0]
    model, processor = spelling.model.eval(), spelling.processor
    model = copy.deepcopy(model)
    model.proj_out = EndOfTheFirst(model.proj_out, model.generation_config.eos_token_id)
    found = decode_clips(model, processor, waveforms, ["it"] * 3, contexts, max_length=12)
    assert len(found.texts[0]) == 1 and min(map(len, found.texts[1:])) > 3
    with torch.inference_mode():
        expected = encode_in_contexts(model, processor, waveforms, contexts, 0)
    torch.testing.assert_close(found.encoded.states, expected.states)
    torch.testing.assert_close(found.encoded.mask, expected.mask)
