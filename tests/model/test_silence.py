"""Condensed silence against the full window that it stands for."""

import copy
import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.transcribing import transcribe
from utils.audio.flac import encode_flac
from utils.audio.log_mel import log_mel, pad_waveforms
from utils.data.length_batches import Example, StepSize
from utils.model.context import DECODING_GRID, FULL_CONTEXT, TRAINING_GRID, dynamic_context
from utils.model.encoded_clips import encode_in_contexts
from utils.model.encoder import encode
from utils.model.kernels.onednn import Multiples
from utils.model.loading import load_model
from utils.model.loss import WhisperLoss
from utils.model.silence import (
    KEPT_SILENCE,
    MARGIN,
    SILENCE_RUN,
    condense,
    count_positions,
    encoder_positions,
    seconds_of_work,
)
from utils.model.whisper import eval_mode
from utils.scoring.error_rates import error_rates, score_utterances
from utils.text.label_tokens import IGNORED, LabelWriter, TimedTokens, encode_texts
from utils.training.batches import pad_tokens
from utils.training.fixed_contexts import fixed_contexts
from utils.training.steps import StepPlan

# ---- which places ------------------------------------------------------------------------------------------


@given(st.integers(1, 1500), st.integers(1, 1500), st.sampled_from([1, 8, 32]))
def test_every_place_of_the_window_is_stood_for_once(context, run, multiple):
    silence = condense(context, run, 1500, multiple)
    if context == 1500:
        assert silence is None
        return
    kept = min(context + KEPT_SILENCE, 1500)
    assert silence.places[:kept] == tuple(range(kept)) and set(silence.lengths[:kept]) == {1}
    assert len(silence) % multiple == 0 or len(silence) == 1500
    assert len(silence) - count_positions(context, run, 1500) <= multiple or run < 4
    assert sum(silence.lengths) == 1500 and len(silence.lengths) == len(silence)
    assert max(silence.lengths) <= max(run, 1) and min(silence.lengths) >= 1
    start = 0
    for place, length in zip(silence.places, silence.lengths, strict=True):
        assert place == start + (length - 1) // 2
        start += length


def test_places_by_hand():
    # a context of 2 s: 100 places, 45 of silence as they are, and 1,355 in runs: 21 of 64 and one of 11
    silence = condense(100, 64, 1500)
    assert len(silence) == count_positions(100, 64, 1500) == 100 + 45 + 22
    assert silence.lengths[145:] == (64,) * 21 + (11,)
    assert silence.places[144:147] == (144, 145 + 31, 145 + 64 + 31)
    assert silence.places[-1] == 1489 + 5
    # 192 are the next multiple of 32: 26 more places as they are, and 1,329 in 20 runs of 64 and one of 49
    silence = condense(100, 64, 1500, 32)
    assert len(silence) == count_positions(100, 64, 1500, 32) == 192
    assert silence.lengths[145:] == (1,) * 26 + (64,) * 20 + (49,)


@pytest.mark.parametrize(("context", "run"), [(100, 1), (100, 64), (1456, 64), (1498, 128), (1499, 128)])
def test_silence_is_put_behind_what_was_convolved(context, run):
    convolved = torch.arange(context + MARGIN).float().expand(2, 1, -1).transpose(1, 2)
    silence = condense(context, run, 1500)
    whole = silence.extend(convolved)
    assert whole.shape == (2, len(silence), 1)
    assert torch.equal(whole[0, : context + 1, 0], torch.arange(context + 1).float())
    assert set(whole[0, context + 1 : -1, 0].tolist()) <= {context + 1.0}
    bias = silence.key_bias(whole)
    if max(silence.lengths) == 1:
        assert bias is None
    else:
        assert bias.exp().sum().item() == pytest.approx(1500, rel=1e-5)


def test_batches_are_filled_by_what_the_encoder_works_on():
    """Clips of 0.9 s in a context of 1 s: 50 positions, 45 of silence, and 1,405 in 11 runs of 128."""
    examples = [Example((row,), 0.9, 5) for row in range(100)]
    size = StepSize(audio_seconds=20.0, silence_run=128)
    plan = StepPlan(lambda epoch: examples, size, audio_context="dynamic", jitter=[0.0], seed=0)
    steps = list(plan.steps(0, plan.count_steps(1)))
    assert {step.work for step in steps} == {(50 + 45 + 11) / 50}
    assert max(len(step.examples) for step in steps) == int(20 / 2.12)
    assert fixed_contexts([0.9] * 100, size, audio_context="dynamic", jitter=[0.0], seed=0) == [1.0] * 100


def test_seconds_of_work_by_hand():
    assert seconds_of_work(2.0, 64) == pytest.approx((100 + 45 + 22) / 50)
    assert seconds_of_work(2.0, 0) == 2.0 and seconds_of_work(30.0, 64) == 30.0


def test_no_silence_is_added_to_a_full_window_or_where_none_is_wanted():
    assert condense(1500, 64, 1500) is None
    assert condense(100, 0, 1500) is None
    assert count_positions(1500, 64, 1500) == 1500 and count_positions(100, 0, 1500) == 100


@given(st.floats(0.05, 30))
def test_contexts_hold_whole_positions(seconds):
    for grid in (TRAINING_GRID, DECODING_GRID):
        context = dynamic_context(seconds, grid)
        assert encoder_positions(context) == pytest.approx(50 * context)


# ---- what the model makes of them --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tiny_whisper):
    """What follows holds for any weights."""
    return load_model(str(tiny_whisper))


@pytest.fixture(scope="module")
def clips(italian_prompts):
    """Two real clips of different length."""
    return [waveform for waveform, _ in italian_prompts[:2]]


def features_of(loaded, clips, context):
    return log_mel(pad_waveforms(clips, context), loaded.processor.feature_extractor)


def context_of(clips):
    return dynamic_context(max(len(clip) for clip in clips) / 16_000, TRAINING_GRID)


def labels_of(loaded, texts=("Sì.", "Una frase con parecchie parole.")):
    tokenizer = loaded.processor.tokenizer
    pieces = [TimedTokens(0.0, 1.0, tokens) for tokens in encode_texts(tokenizer, list(texts))]
    sequences = [LabelWriter(tokenizer).write([piece], "it") for piece in pieces]
    inputs = pad_tokens([sequence.inputs for sequence in sequences], loaded.model.config.pad_token_id)
    return inputs, pad_tokens([sequence.targets for sequence in sequences], IGNORED)


@pytest.fixture(scope="module")
def full_states(tiny, clips) -> torch.Tensor:
    with torch.no_grad(), eval_mode(tiny.model):
        return encode(tiny.model, features_of(tiny, clips, FULL_CONTEXT))


@pytest.mark.parametrize("context", [None, 29.3, 29.9])  # the clips' own; the silence ends in the kept second
def test_runs_of_one_are_the_full_window(tiny, clips, context, full_states):
    with torch.no_grad(), eval_mode(tiny.model):
        found = encode(tiny.model, features_of(tiny, clips, context or context_of(clips)), 1)
    torch.testing.assert_close(found, full_states, atol=2e-5, rtol=1e-4)


def test_a_run_stands_where_its_middle_is(tiny, clips):
    """What enters the encoder's layers: the audio of the full window, and its place in it."""
    model, context = copy.deepcopy(tiny.model), context_of(clips)
    model.model.encoder.layers = torch.nn.ModuleList()
    with torch.no_grad(), eval_mode(model):
        whole = encode(model, features_of(tiny, clips, FULL_CONTEXT))
        found = encode(model, features_of(tiny, clips, context), 64)
    places = list(condense(encoder_positions(context), 64, 1500).places)
    torch.testing.assert_close(found, whole[:, places], atol=1e-5, rtol=1e-5)


def loss_and_gradients(model, loss: torch.Tensor) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_same(found: tuple[float, dict], expected: tuple[float, dict]) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        atol = 1e-4 * gradient.abs().max().item() + 1e-6
        torch.testing.assert_close(
            found[1][name], gradient, atol=atol, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.fixture(scope="module")
def of_the_full_window(tiny, clips) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients with the silence computed in full."""
    full = copy.deepcopy(tiny.model).train()
    return loss_and_gradients(
        full, WhisperLoss(full)(features_of(tiny, clips, FULL_CONTEXT), *labels_of(tiny))
    )


@pytest.mark.parametrize("way", ["plain", "checkpointed", "states known", "tokens by eight"])
def test_runs_of_one_have_the_loss_and_gradients_of_the_full_window(tiny, clips, way, of_the_full_window):
    inputs, labels = labels_of(tiny)
    condensed = copy.deepcopy(tiny.model).train()
    if way == "checkpointed":
        condensed.activation_checkpointing_enable({"use_reentrant": False})
    context = context_of(clips)
    features = features_of(tiny, clips, context)
    multiples = Multiples(tokens=8 if way == "tokens by eight" else 1)
    loss = WhisperLoss(condensed, silence_run=1, multiples=multiples)
    if way == "states known":
        states = encode(condensed, features, 1)
        found = loss(None, inputs, labels, states, encoder_positions(context))
    else:
        found = loss(features, inputs, labels)
    assert_same(loss_and_gradients(condensed, found), of_the_full_window)


# 15 s are 750 positions; 45 of silence, 11 runs of 64 and the window's last place, which alone sees its end
RUNS_THAT_FIT = 15.0


@pytest.fixture(scope="module")
def placeless(tiny):
    """A model that knows no places: all silence but the window's last is alike to it."""
    model = copy.deepcopy(tiny.model)
    torch.nn.init.zeros_(model.model.encoder.embed_positions.weight.requires_grad_(False))
    return model


def test_where_silence_is_alike_runs_have_the_loss_and_gradients_of_the_full_window(tiny, clips, placeless):
    """So they do if the weight of each run counts, in the encoder and where the decoder attends to it."""
    model = placeless.train()
    expected = WhisperLoss(model)(features_of(tiny, clips, FULL_CONTEXT), *labels_of(tiny))
    expected = loss_and_gradients(model, expected)
    found = WhisperLoss(model, silence_run=64)(features_of(tiny, clips, RUNS_THAT_FIT), *labels_of(tiny))
    assert_same(loss_and_gradients(model, found), expected)


def test_where_silence_is_alike_decoding_hears_the_full_window_in_runs(tiny, clips, placeless):
    heard = []
    hook = placeless.proj_out.register_forward_hook(
        lambda module, inputs, output: heard.append(output.clone())
    )
    decode = functools.partial(
        transcribe,
        placeless,
        tiny.processor,
        [encode_flac(clip) for clip in clips],
        [RUNS_THAT_FIT - 0.2] * 2,
        ["it"] * 2,
        batch_size=2,
        max_length=5,
        silence_run=64,
    )
    decode(audio_context="full")
    decode(audio_context="dynamic")
    hook.remove()
    whole, condensed = heard  # logits of the first token
    torch.testing.assert_close(condensed, whole, atol=1e-5, rtol=1e-4)


def test_a_run_has_the_weight_of_its_positions():
    """In attention with equal keys and values in each run, whatever the queries."""
    torch.manual_seed(0)
    silence = condense(100, 64, 1500)
    queries, keys, values = (torch.randn(1, 2, count, 16) for count in (7, len(silence), len(silence)))
    whole = [each.repeat_interleave(torch.tensor(silence.lengths), dim=2) for each in (keys, values)]
    expected = torch.nn.functional.scaled_dot_product_attention(queries, *whole)
    bias = silence.key_bias(keys)
    found = torch.nn.functional.scaled_dot_product_attention(queries, keys, values, attn_mask=bias)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


# ---- decoding ----------------------------------------------------------------------------------------------


def test_an_untuned_model_needs_the_silence(italian_prompts):
    """Without any it runs away; condensed it hears nearly every letter."""
    base = load_model("openai/whisper-base")
    waveforms, texts = zip(*italian_prompts[:2], strict=True)
    decode = functools.partial(
        transcribe,
        base.model,
        base.processor,
        [encode_flac(waveform) for waveform in waveforms],
        [len(waveform) / 16_000 for waveform in waveforms],
        ["it"] * len(waveforms),
        audio_context="dynamic",
        batch_size=2,
        max_length=80,
    )
    condensed, tight = (
        error_rates(score_utterances(range(len(texts)), texts, heard, "basic")).normalized_cer
        for heard in (decode(silence_run=SILENCE_RUN), decode(silence_run=0))
    )
    assert condensed < 0.03 and tight > 0.6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_clips_of_several_contexts_share_a_batch(tiny, clips, dtype):
    model = copy.deepcopy(tiny.model).to(dtype)
    with torch.inference_mode(), eval_mode(model):
        together = encode_in_contexts(model, tiny.processor, clips, [3.0, 9.5], SILENCE_RUN)
        alone = [
            encode_in_contexts(model, tiny.processor, [clip], [context], SILENCE_RUN)
            for clip, context in zip(clips, (3.0, 9.5), strict=True)
        ]
    for row, own in enumerate(alone):
        count = own.states.shape[1]
        assert torch.equal(together.mask[row, 0, 0, :count], own.mask[0, 0, 0])
        assert bool((together.mask[row, 0, 0, count:] == -torch.inf).all())
        torch.testing.assert_close(together.states[row, :count], own.states[0])
    assert together.mask.dtype == dtype and together.states.shape[1] == max(o.states.shape[1] for o in alone)
