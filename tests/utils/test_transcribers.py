"""The same words from every backend."""

from dataclasses import replace

import pytest
import torch

from utils.audio import encode_flac
from utils.batching import DECODING_GRID, dynamic_context
from utils.decoding import transcribe_batch
from utils.errors import UserError
from utils.silence import SILENCE_RUN
from utils.transcribers import open_transcriber

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clips(italian_prompts):
    return [encode_flac(waveform) for waveform, _ in italian_prompts[:4]]


def decode(name, clips, context, languages=None, **options):
    options = {"dtype": "float32", "device": CPU, "max_length": 64} | options
    contexts = context if isinstance(context, list) else [context] * len(clips)
    with open_transcriber(str(name), **options) as (transcriber, loaded):
        transcriber = replace(transcriber, loaded=replace(loaded, silence_run=0))
        return transcriber.transcribe_batch(clips, languages or ["it"] * len(clips), contexts)


@pytest.mark.parametrize("context", [30.0, [8.0, 7.5, 9.0, 12.0]])
def test_ctranslate2_says_what_transformers_says(clips, context):
    """Whisper base, converted on the fly; also on shorter encoder inputs of several lengths."""
    ours = decode("openai/whisper-base", clips, context, backend="transformers")
    theirs = decode("openai/whisper-base", clips, context, backend="ctranslate2")
    assert theirs == ours


def test_transformers_hears_the_silence_of_the_model(clips):
    """An untuned model runs away without any."""
    options = {"dtype": "float32", "device": CPU, "max_length": 64, "backend": "transformers"}
    contexts, languages = [dynamic_context(3.0, DECODING_GRID)] * len(clips), ["it"] * len(clips)
    with open_transcriber("openai/whisper-base", **options) as (transcriber, loaded):
        found = transcriber.transcribe_batch(clips, languages, contexts)
        model, processor = loaded.model, loaded.processor
        same = {"contexts": contexts, "max_length": 64, "silence_run": SILENCE_RUN}
        assert found == transcribe_batch(model, processor, clips, languages, **same)
        assert found != transcribe_batch(model, processor, clips, languages, **(same | {"silence_run": 0}))


def test_ctranslate2_detects_the_language(clips):
    languages = [None] * len(clips)
    found = decode("openai/whisper-base", clips, 30.0, languages, backend="ctranslate2")
    assert found == decode("openai/whisper-base", clips, 30.0, languages, backend="transformers")


def test_faster_whisper_hears_the_prompts(clips, italian_prompts):
    found = decode("openai/whisper-base", clips[:2], 30.0, backend="faster-whisper", num_beams=5)
    texts = [text for _, text in italian_prompts[:2]]
    for heard, text in zip(found, texts, strict=True):
        assert set(heard.lower().split()) & set(text.lower().split())


def test_an_unknown_precision_is_refused(clips):
    with pytest.raises(UserError, match=r"float64.*expected one of auto"):
        decode("openai/whisper-base", clips, 30.0, backend="ctranslate2", dtype="float64")


def test_ctranslate2_writes_as_many_tokens_as_transformers(clips):
    """Cut short long before the end; CTranslate2 counts in halves of its own `max_length`."""
    ours = decode("openai/whisper-base", clips[:2], 30.0, backend="transformers", max_length=10)
    theirs = decode("openai/whisper-base", clips[:2], 30.0, backend="ctranslate2", max_length=10)
    assert theirs == ours and all(ours)
