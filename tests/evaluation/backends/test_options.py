"""What the engines are asked for: previous text, temperature, language, task and beams."""

import contextlib
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from utils.audio.flac import decode_flac, encode_flac
from utils.evaluation.backends.ctranslate2 import FasterWhisperTranscriber
from utils.evaluation.backends.opening import open_transcriber
from utils.evaluation.backends.transcriber import BackendOptions, with_prompt_terms
from utils.model.loading import load_model
from utils.runtime.errors import UserError

OPTIONS = BackendOptions(torch.device("cpu"), "float32", 24)
PREVIOUS = [5, 6, 7]


@pytest.fixture(scope="module")
def clips(italian_prompts) -> list[np.ndarray]:
    return [samples for samples, _ in italian_prompts[:3]]


@pytest.fixture(scope="module")
def ctranslate2(spelling_whisper):
    with open_transcriber(str(spelling_whisper), "ctranslate2", OPTIONS) as opened:
        yield opened


@pytest.mark.parametrize("other", [{"previous": PREVIOUS}, {"temperature": 0.8}])
def test_ctranslate2_writes_something_else_after_a_text_and_when_warm(ctranslate2, clips, other):
    def texts(**options) -> list[str]:
        return ctranslate2.decode(clips, ["it"] * 3, [30.0] * 3, **options).texts

    assert texts() == texts() != texts(**other)


def test_ctranslate2_gives_texts_and_encoder_output_of_transformers(ctranslate2, spelling_whisper, clips):
    contexts, languages = [8.0, 7.5, 8.0], ["it", "fa", "it"]
    ctranslate2 = replace(ctranslate2, options=replace(OPTIONS, task="translate"))
    found = ctranslate2.decode(clips, languages, contexts, previous=PREVIOUS)
    with open_transcriber(str(spelling_whisper), "transformers", OPTIONS) as transformers:
        loaded = replace(transformers.loaded, silence_run=0)
        plain = replace(transformers, loaded=loaded, options=ctranslate2.options)
        expected = plain.decode(clips, languages, contexts, previous=PREVIOUS)
        assert expected.texts != plain.decode(clips, ["it"] * 3, contexts, previous=PREVIOUS).texts
    assert found.texts == expected.texts
    torch.testing.assert_close(found.encoded.mask, expected.encoded.mask)
    for row, length in enumerate((400, 375, 400)):
        ours, theirs = (one.encoded.states[row, :length] for one in (expected, found))
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
    assert found.languages == expected.languages


@pytest.mark.parametrize("backend", ["transformers", "ctranslate2"])
def test_terms_are_the_prompt_of_each_clip(backend, ctranslate2, spelling_whisper, clips):
    """The tokens of the small model are bytes."""
    with contextlib.ExitStack() as opened:
        transcriber: Any = ctranslate2
        if backend == "transformers":
            transcriber = opened.enter_context(open_transcriber(str(spelling_whisper), backend, OPTIONS))
        files, given = [encode_flac(samples) for samples in clips], (["it"] * 3, [30.0] * 3)
        prompted = with_prompt_terms(transcriber, ["Roma", "Zara"])
        tokens = transcriber.loaded.processor.tokenizer.convert_tokens_to_ids([*"ĠRoma,ĠZara"])
        heard = prompted.transcribe_batch(files, *given)
        samples = [decode_flac(file) for file in files]
        assert heard == transcriber.decode(samples, *given, previous=tokens).texts
        assert heard != transcriber.transcribe_batch(files, *given)


def test_terms_that_do_not_fit_into_a_prompt_are_refused(ctranslate2):
    """223 bytes: 18 terms of ten bytes, with a space before each and commas between them."""
    with pytest.raises(UserError, match=r"19 terms are too many .* 223 tokens, which the first 18 need"):
        with_prompt_terms(ctranslate2, ["x" * 9 + chr(97 + number) for number in range(19)])
    with_prompt_terms(ctranslate2, ["x" * 9 + chr(97 + number) for number in range(18)])


@dataclass
class NotingEngine:
    """In place of faster-whisper's model: it notes what it is asked for."""

    asked: list[dict] = field(default_factory=list)

    def transcribe(self, samples, **options):
        self.asked.append(options)
        segments = [SimpleNamespace(text=" Uno"), SimpleNamespace(text=" due.")]
        return segments, SimpleNamespace(language=options["language"] or "fa")


def test_faster_whisper_is_asked_for_the_same(tiny_whisper, clips):
    engine, options = NotingEngine(), replace(OPTIONS, task="translate", num_beams=3)
    transcriber = FasterWhisperTranscriber(engine, load_model(str(tiny_whisper)), options)
    found = transcriber.decode(clips[:2], ["it", None], [30.0] * 2, previous=PREVIOUS, temperature=0.4)
    assert (found.texts, found.languages, found.encoded) == (["Uno due."] * 2, ["it", "fa"], None)
    assert [asked["language"] for asked in engine.asked] == ["it", None]
    for asked in engine.asked:
        assert (asked["task"], asked["beam_size"], asked["temperature"]) == ("translate", 3, 0.4)
        assert asked["initial_prompt"] == PREVIOUS and asked["condition_on_previous_text"] is False
    prompted = replace(transcriber, options=replace(options, prompt=(8, 9)))
    prompted.transcribe_batch([encode_flac(clips[0])], ["it"], [30.0])
    assert engine.asked[-1]["initial_prompt"] == [8, 9]
    transcriber.transcribe_recording(clips[0], None)
    assert "temperature" not in engine.asked[-1] and engine.asked[-1]["initial_prompt"] is None
