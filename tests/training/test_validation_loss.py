"""The validation loss, against transformers' own loss on the same clips."""

import contextlib
import io
import math
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from datasets import Dataset, concatenate_datasets, load_from_disk

from utils.audio.flac import encode_flac
from utils.model.decoding import decode_clips, ready_to_decode
from utils.model.loading import load_model
from utils.model.loss import TargetLoss
from utils.runtime.interruption import StopRequest
from utils.training.shared_decoding import RowDecoder, decode_on_all_processes, score_rows


@pytest.fixture(scope="module")
def loaded(spelling_whisper):
    """A model that writes letters, by what it hears."""
    return load_model(str(spelling_whisper))


@pytest.fixture(scope="module")
def rows(prepared) -> Dataset:
    return load_from_disk(prepared)["validation"]


def settings(**changes) -> SimpleNamespace:
    """As much of the arguments of train.py as an evaluation needs."""
    values = {"per_device_eval_batch_size": 4, "generation_max_length": 20, "task": "transcribe"}
    return SimpleNamespace(**values | {"normalizer": "basic"} | changes)


def process(index: int = 0, of: int = 1) -> SimpleNamespace:
    """As much of an Accelerator as sharing needs."""
    return SimpleNamespace(
        process_index=index, num_processes=of, is_main_process=index == 0, autocast=contextlib.nullcontext
    )


def score(loaded, rows: Dataset, **changes):
    return score_rows(settings(**changes), process(), loaded.model, loaded.processor, rows, StopRequest())


def losses_of_transformers(loaded, rows: Dataset, language: str | None, task: str) -> list[TargetLoss]:
    """Each clip alone: transformers' feature extractor, prefix, shift of the labels and mean loss."""
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    folder = loaded.model.config._name_or_path
    processor = WhisperProcessor.from_pretrained(folder, language=language, task=task)
    model = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    found = []
    for row in rows:
        samples = soundfile.read(io.BytesIO(row["audio"]))[0]
        features = processor.feature_extractor(samples, sampling_rate=16_000, return_tensors="pt")
        labels = torch.tensor([processor.tokenizer(" " + row["text"]).input_ids[1:]])
        with torch.no_grad():
            mean = model(features.input_features, labels=labels).loss
        found.append(TargetLoss(mean.item() * labels.shape[1], labels.shape[1]))
    return found


def mean(losses: list[TargetLoss]) -> float:
    return sum(loss.loss_sum for loss in losses) / sum(loss.num_targets for loss in losses)


@pytest.fixture(scope="module")
def expected(loaded, rows) -> list[TargetLoss]:
    return losses_of_transformers(loaded, rows, "it", "transcribe")


@pytest.mark.parametrize("batch_size", [1, 4])
def test_it_is_the_mean_over_all_target_tokens(loaded, rows, expected, batch_size):
    found = score(loaded, rows, per_device_eval_batch_size=batch_size).loss
    assert found == pytest.approx(mean(expected), rel=1e-5)
    unweighted = sum(loss.mean for loss in expected) / len(expected)
    assert abs(unweighted - found) > 1e-3  # texts have very different lengths


def test_language_and_task_are_those_of_the_labels(loaded, rows):
    some = rows.select(range(2))
    english = some.remove_columns("language").add_column("language", ["en"] * 2)
    found = score(loaded, english, task="translate").loss
    assert found == pytest.approx(mean(losses_of_transformers(loaded, some, "en", "translate")), rel=1e-5)


def test_it_changes_no_hypothesis(loaded, italian_prompts):
    """Decoding goes on with the keys and values that the loss has computed."""
    samples, texts = zip(*italian_prompts[:5], strict=True)
    with ready_to_decode(loaded.model):
        words = loaded.model, loaded.processor, samples, ["it"] * 5, [30.0] * 5
        plain = decode_clips(*words, max_length=40).texts
    assert len(set(plain)) > 3
    prompts = {"id": list("abcde"), "audio": [encode_flac(clip) for clip in samples], "text": list(texts)}
    prompts |= {"duration": [len(clip) / 16_000 for clip in samples], "language": ["it"] * 5}
    found = score(loaded, Dataset.from_dict(prompts), generation_max_length=40)
    assert [each.hypothesis for each in found.utterances] == plain


def test_encoder_and_keys_of_the_cross_attention_are_computed_once(loaded):
    """One batch: as often as without the loss."""
    calls, model = [], loaded.model.eval()
    layers = model.model.encoder.conv1, model.model.decoder.layers[0].encoder_attn.k_proj
    hooks = [layer.register_forward_hook(lambda layer, *_: calls.append(layer)) for layer in layers]
    try:
        decoded = decode_clips(
            *(model, loaded.processor, [np.zeros(8_000, dtype=np.float32)], ["it"], [30.0]),
            max_length=8,
            references=["abc"],
        )
    finally:
        for hook in hooks:
            hook.remove()
    assert len(calls) == 2 and decoded.losses[0].num_targets == 8  # a letter is a token, as is the space


def test_a_label_that_is_too_long_for_whisper_does_not_count(loaded, rows, expected):
    """As in training; the tiny tokenizer has a token for each letter."""
    long = rows.select([0]).remove_columns("text").add_column("text", ["a" * 500])
    found = score(loaded, concatenate_datasets([rows, long])).loss
    assert found == pytest.approx(mean(expected), rel=1e-5)
    assert math.isnan(score(loaded, long).loss)


@pytest.mark.parametrize("have_a_model", [[True, True], [True, True, True], [True, False]])
def test_processes_share_the_clips_and_all_get_the_loss_of_all(
    loaded, rows, expected, have_a_model, monkeypatch
):
    """What one process gathers from all is noted in a first round."""
    options = settings(per_device_eval_batch_size=2, generation_max_length=8)
    decoders = [
        RowDecoder(loaded.model, loaded.processor, rows, options) if has else None for has in have_a_model
    ]
    shares, there = [], "utils.training.shared_decoding"
    with monkeypatch.context() as first_round:
        first_round.setattr(f"{there}.gather_object", lambda own: have_a_model)
        first_round.setattr(f"{there}.gather_hypotheses", lambda own, _: shares.append(own) or [])
        for index, decoder in enumerate(decoders):
            decode_on_all_processes(process(index, len(decoders)), decoder, rows, batch_size=2)
    losses = [decoder.losses if decoder else {} for decoder in decoders]
    assert sorted(number for own in losses for number in own) == list(range(len(rows)))  # each once
    answers = {bool: have_a_model, dict: losses}
    monkeypatch.setattr(f"{there}.gather_object", lambda own: answers[type(own[0])])
    monkeypatch.setattr("utils.model.transcription.gather_object", lambda own: shares)
    for index, has in enumerate(have_a_model):
        model = loaded.model if has else None
        found = score_rows(options, process(index, 2), model, loaded.processor, rows, StopRequest())
        assert found.loss == pytest.approx(mean(expected), rel=1e-5)


def test_memory_that_runs_out_counts_no_clip_twice(loaded, rows, expected, monkeypatch):
    """The first batch fails after its loss was computed, and comes again in halves."""
    from utils.model import decoding

    decode = decoding.decode_greedily

    def run_out(model, encoded, *more):
        if len(encoded.states) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return decode(model, encoded, *more)

    monkeypatch.setattr(decoding, "decode_greedily", run_out)
    found = score(loaded, rows, per_device_eval_batch_size=6).loss
    assert found == pytest.approx(mean(expected), rel=1e-5)
