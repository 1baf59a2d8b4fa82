"""The same words from every backend."""

import contextlib
from dataclasses import replace

import pytest
import torch

from tests.support.transcribing import transcribe_batch
from utils.audio.flac import encode_flac
from utils.evaluation.backends.opening import open_transcriber
from utils.evaluation.backends.transcriber import BackendOptions
from utils.model.context import DECODING_GRID, dynamic_context
from utils.model.silence import SILENCE_RUN
from utils.runtime.errors import UserError

BASE = "openai/whisper-base"
OPTIONS = BackendOptions(torch.device("cpu"), "float32", 64)


@pytest.fixture(scope="module")
def clips(italian_prompts):
    return [encode_flac(waveform) for waveform, _ in italian_prompts[:3]]


@pytest.fixture(scope="module")
def base():
    """Whisper base as it is, and converted on the fly; opened once, since that is most of the work."""
    with contextlib.ExitStack() as opened:
        yield {
            backend: opened.enter_context(open_transcriber(BASE, backend, OPTIONS))
            for backend in ("transformers", "ctranslate2")
        }


def both_say(base, clips, languages, contexts, max_length: int = 64):
    """What either backend hears; CTranslate2 condenses no silence, so neither does."""
    for transcriber in base.values():
        loaded = replace(transcriber.loaded, silence_run=0)
        options = replace(OPTIONS, max_length=max_length)
        asked = replace(transcriber, loaded=loaded, options=options)
        yield asked.transcribe_batch(clips, languages, contexts)


def test_ctranslate2_says_what_transformers_says_and_finds_the_language(base, clips):
    """The language of the first is given, that of the second detected."""
    ours, theirs = both_say(base, clips[:2], ["en", None], [30.0, 30.0])
    assert theirs == ours and all(ours)


def test_ctranslate2_keeps_the_order_on_encoder_inputs_of_several_lengths(base, clips):
    ours, theirs = both_say(base, clips, ["it"] * 3, [8.0, 7.5, 8.0])
    assert theirs == ours and len(set(ours)) == 3


def test_ctranslate2_writes_as_many_tokens_as_transformers(base, clips):
    """Cut short long before the end, the prompt of 4 included; CTranslate2 counts in halves of its own."""
    ours, theirs = both_say(base, clips[:2], ["it"] * 2, [12.0, 12.0], max_length=10)
    tokenizer = base["transformers"].loaded.processor.tokenizer
    assert theirs == ours and all(1 < len(tokenizer.tokenize(f" {text}")) <= 10 - 4 for text in ours)


def test_transformers_hears_the_silence_of_the_model(base, clips):
    """An untuned model runs away without any."""
    transcriber, clips = base["transformers"], clips[:2]
    contexts, languages = [dynamic_context(3.0, DECODING_GRID)] * 2, ["it"] * 2
    found = transcriber.transcribe_batch(clips, languages, contexts)
    model, processor = transcriber.loaded.model, transcriber.loaded.processor
    same = {"contexts": contexts, "max_length": 64, "silence_run": SILENCE_RUN}
    assert found == transcribe_batch(model, processor, clips, languages, **same)
    assert found != transcribe_batch(model, processor, clips, languages, **(same | {"silence_run": 0}))


def test_faster_whisper_hears_a_prompt(clips, italian_prompts):
    with open_transcriber(BASE, "faster-whisper", replace(OPTIONS, num_beams=5)) as transcriber:
        (heard,) = transcriber.transcribe_batch(clips[:1], ["it"], [30.0])
    assert set(heard.lower().split()) & set(italian_prompts[0][1].lower().split())


def test_an_unknown_precision_is_refused():
    with (
        pytest.raises(UserError, match=r"float64.*expected one of auto"),
        open_transcriber(BASE, "ctranslate2", replace(OPTIONS, dtype="float64")),
    ):
        pass
