"""Which contexts a model is decoded in, and which languages a backend takes."""

import pytest
import torch

from utils.evaluation.backends.ctranslate2 import CTranslate2Transcriber, FasterWhisperTranscriber
from utils.evaluation.backends.transcriber import BackendOptions
from utils.evaluation.backends.transformers import TransformersTranscriber
from utils.evaluation.evaluation_set import EvaluationSet
from utils.evaluation.material import Material
from utils.evaluation.models import choose_contexts, in_known_languages
from utils.model.loading import LoadedModel, load_model
from utils.runtime.errors import UserError

OPTIONS = BackendOptions(torch.device("cpu"), dtype="auto", max_length=64)


def contexts_of(wanted, *, backend="transformers", trained_on_dynamic=True, silence_run=64):
    loaded = LoadedModel(None, None, trained_on_dynamic, None, 0, silence_run)
    transcribers = {
        "transformers": TransformersTranscriber(loaded, OPTIONS),
        "ctranslate2": CTranslate2Transcriber(None, loaded, OPTIONS),
        "faster-whisper": FasterWhisperTranscriber(None, loaded, OPTIONS),
    }
    return choose_contexts(wanted, transcribers[backend], "runs/it/best", backend)


@pytest.mark.parametrize(
    ("wanted", "trained_on_dynamic", "expected"),
    [
        ("auto", False, ["full"]),
        ("auto", True, ["full", "dynamic"]),
        ("full", True, ["full"]),
        ("dynamic", False, ["dynamic"]),
    ],
)
def test_choice_of_contexts(wanted, trained_on_dynamic, expected):
    assert contexts_of(wanted, trained_on_dynamic=trained_on_dynamic) == expected


@pytest.mark.parametrize("silence_run", [0, 64])
def test_faster_whisper_decodes_in_the_full_context_alone(silence_run):
    assert contexts_of("auto", backend="faster-whisper", silence_run=silence_run) == ["full"]


def test_ctranslate2_has_no_condensed_silence():
    assert contexts_of("auto", backend="ctranslate2") == ["full"]
    assert contexts_of("auto", backend="ctranslate2", silence_run=0) == ["full", "dynamic"]
    for run in (0, None):  # none, or nobody knows: a converted folder does not tell
        assert contexts_of("dynamic", backend="ctranslate2", silence_run=run) == ["dynamic"]
    with pytest.raises(
        UserError, match=r"--audio_context dynamic of runs/it/best.* trained with --silence_run 0"
    ):
        contexts_of("dynamic", backend="ctranslate2")


def test_a_language_that_was_added_is_told_to_all_but_faster_whisper(tiny_whisper):
    loaded = load_model(str(tiny_whisper))
    loaded.model.generation_config.lang_to_id["<|fur|>"] = 259
    material = Material(EvaluationSet("data/fur", "test", ["1"], ["mandi"], [1.0], {}, ["fur"]), None, [])
    for transcriber in (
        TransformersTranscriber(loaded, OPTIONS),
        CTranslate2Transcriber(None, loaded, OPTIONS),
    ):
        assert in_known_languages(material, transcriber, "best").evaluation_set.told_languages == ["fur"]
    with pytest.raises(
        UserError, match=r"does not support the added language fur\. Use --backend ctranslate2"
    ):
        in_known_languages(material, FasterWhisperTranscriber(None, loaded, OPTIONS), "best")
