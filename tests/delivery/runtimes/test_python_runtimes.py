"""transformers, faster-whisper and openai-whisper on exported folders: a random model for every way, Whisper
base for the words.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.support.real_vocabulary import build_source
from utils.delivery.exports.ctranslate2 import CTRANSLATE2
from utils.delivery.exports.export_format import load_export_source
from utils.delivery.exports.hugging_face import HUGGING_FACE
from utils.delivery.exports.openai import OPENAI
from utils.delivery.runtimes.faster_whisper import open_batched_faster_whisper, open_faster_whisper_runtime
from utils.delivery.runtimes.openai_whisper import open_openai_whisper
from utils.delivery.runtimes.runtime import Runtime, Way
from utils.delivery.runtimes.transformers import open_transformers_runtime
from utils.model.languages import add_language

PLAIN, TIMESTAMPS = Way(), Way(timestamps=True)
WORDS, PREVIOUS_TEXT = Way(timestamps=True, words=True), Way(timestamps=True, previous_text=True)
RUNTIMES = {
    "transformers": (HUGGING_FACE, open_transformers_runtime),
    "faster-whisper": (CTRANSLATE2, open_faster_whisper_runtime),
    "batched": (CTRANSLATE2, open_batched_faster_whisper),
    "openai-whisper": (OPENAI, open_openai_whisper),
}
SLOW = ("batched", "openai-whisper")


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> Iterator[Callable[[str, str], Runtime]]:
    """A function that exports a model and opens it in a runtime, once each."""
    with contextlib.ExitStack() as stack:

        @cache
        def load(model: str):
            return build_source() if model == "random" else load_export_source(model)

        @cache
        def export(model: str, number: int) -> Path:
            folder = tmp_path_factory.mktemp("export")
            (HUGGING_FACE, CTRANSLATE2, OPENAI)[number].write(load(model), folder, "float32")
            return folder

        @cache
        def start(model: str, name: str) -> Runtime:
            format, opener = RUNTIMES[name]
            number = (HUGGING_FACE, CTRANSLATE2, OPENAI).index(format)
            return stack.enter_context(opener(export(model, number), 1))

        yield start


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(scale=0.1, size=round(seconds * 16_000)).astype(np.float32)


@pytest.mark.parametrize("name", ["faster-whisper", "openai-whisper"])
def test_timestamps_change_what_a_runtime_writes(opened, name):
    runtime = opened("random", name)
    assert set(runtime.ways) == {PLAIN, TIMESTAMPS, WORDS, PREVIOUS_TEXT}
    plain, timed = (runtime.transcribe(noise(1), "it", way) for way in (PLAIN, TIMESTAMPS))
    assert plain.text and plain != timed


@pytest.mark.parametrize("name", RUNTIMES)
def test_the_task_changes_the_text(opened, italian_prompts, name):
    runtime, samples = opened("random", name), italian_prompts[0][0]
    texts = [
        replace(runtime, task=task).transcribe(samples, "it", PLAIN).text
        for task in ("transcribe", "translate")
    ]
    assert all(texts) and texts[0] != texts[1]


@pytest.mark.parametrize(
    "name", ["faster-whisper", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_whisper_base_hears_a_prompt(opened, italian_prompts, name):
    """The words of most of its transcript, their times within the clip, and no language needed."""
    samples, transcript = italian_prompts[0]
    runtime = opened("openai/whisper-base", name)
    found = runtime.transcribe(samples, None, WORDS)
    if name == "batched":  # its default is to write no timestamps
        assert found.text == runtime.transcribe(samples, None, PLAIN).text
    spoken, heard = transcript.lower().split(), found.text.lower().split()
    assert len(set(spoken) & set(heard)) > len(spoken) / 2, (transcript, found.text)
    assert [word.text for word in found.words] == found.text.split()
    times = [time for word in found.words for time in (word.start, word.end)]
    assert times == sorted(times) and times[0] >= 0 and times[-1] <= len(samples) / 16_000 + 0.1
    assert times[-1] > len(samples) / 16_000 / 2


@pytest.mark.parametrize("name", ["faster-whisper", "openai-whisper"])
def test_a_runtime_takes_a_language_that_was_added(tmp_path, name, monkeypatch):
    import faster_whisper

    for module in (faster_whisper.tokenizer, faster_whisper.transcribe):  # undone after the test
        monkeypatch.setattr(module, "_LANGUAGE_CODES", module._LANGUAGE_CODES)
    source = build_source()
    add_language(source.loaded.model, source.loaded.processor, "xx")
    format, opener = RUNTIMES[name]
    format.write(source, tmp_path, "float32")
    with opener(tmp_path, 1) as runtime:
        texts = [runtime.transcribe(noise(3), language, PLAIN).text for language in ("xx", "it")]
    assert all(texts) and texts[0] != texts[1]
