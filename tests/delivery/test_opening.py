"""utils/delivery/opening.py: the precision of the model that only finds the times of words."""

import numpy as np
import pytest
import torch

from utils.delivery.cues import Layout
from utils.delivery.opening import open_window_reader
from utils.delivery.transcribing import Window
from utils.evaluation.backends.transcriber import BackendOptions

OPTIONS = BackendOptions(torch.device("cpu"), "float32", 12, "transcribe", 1)


@pytest.mark.parametrize("is_fast", [True, False])
def test_words_are_timed_in_bfloat16_where_that_is_fast(spelling_whisper, monkeypatch, is_fast):
    monkeypatch.setattr("utils.runtime.devices.cpu_is_fast_in_bfloat16", lambda: is_fast)
    sound = np.random.default_rng(1).normal(0, 0.1, 5 * 16000).astype(np.float32)
    window = Window(0, 2.0, 7.0, np.zeros(250, dtype=bool), sound)
    options = {"languages": {"it"}, "audio_context": "full", "batch_size": 1, "layout": Layout()}
    with open_window_reader(str(spelling_whisper), "ctranslate2", OPTIONS, **options) as reader:
        (read,) = reader.read([window], ["it"]).values()
        timing = reader._transcriber.loaded.model
    assert timing.dtype == timing.proj_out.weight.dtype == (torch.bfloat16 if is_fast else torch.float32)
    assert read.words and all(2.0 <= word.start <= word.end <= 7.0 for word in read.words)


def test_a_model_that_decodes_keeps_the_precision_that_was_asked_for(tiny_whisper, monkeypatch):
    monkeypatch.setattr("utils.runtime.devices.cpu_is_fast_in_bfloat16", lambda: True)
    options = {"languages": {"it"}, "audio_context": "full", "batch_size": 1, "layout": Layout()}
    with open_window_reader(str(tiny_whisper), "transformers", OPTIONS, **options) as reader:
        assert reader._transcriber.loaded.model.dtype == torch.float32
