"""whisper.cpp on exported files: a random model for every way, Whisper base for the words."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.real_vocabulary import build_source
from utils.delivery.exports.export_format import load_export_source
from utils.delivery.exports.ggml import GGML
from utils.delivery.runtimes.runtime import Rendition, Way
from utils.delivery.runtimes.whisper_cpp import WhisperCpp, open_whisper_cpp
from utils.model.languages import add_language
from utils.runtime.errors import UserError

PLAIN, TIMESTAMPS = Way(), Way(timestamps=True)
WORDS, PREVIOUS_TEXT = Way(timestamps=True, words=True), Way(timestamps=True, previous_text=True)
SHORT = {"max_target_positions": 64}  # 28 tokens in a window, enough of random text
BASE = "openai/whisper-base"


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=round(seconds * 16_000)).astype(np.float32)


def language_used(runtime: WhisperCpp, language: str | None) -> str:
    import _pywhispercpp as library

    assert runtime.transcribe(noise(3), language, PLAIN).text
    return library.whisper_lang_str(library.whisper_full_lang_id(runtime.context))


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ggml")
    GGML.write(build_source(**SHORT), folder, "f16")
    return folder


@pytest.fixture(scope="module")
def runtime(exported) -> Iterator[WhisperCpp]:
    with open_whisper_cpp(exported, 1) as opened:
        yield opened


def test_every_way_changes_what_whisper_cpp_does(runtime):
    """40 s are two windows; previous text reaches the second one, and without timestamps both are 30 s."""
    assert set(runtime.ways) == {PLAIN, TIMESTAMPS, WORDS, PREVIOUS_TEXT}
    found = {way: runtime.transcribe(noise(40), "it", way) for way in runtime.ways}
    assert found[WORDS].text == found[TIMESTAMPS].text
    assert len({rendition.text for rendition in found.values()}) == 3
    assert [bool(rendition.words) for rendition in found.values()] == [way.words for way in found]
    words = found[WORDS].words
    assert "".join(word.text for word in words) == found[WORDS].text.replace(" ", "")
    assert all(word.start <= word.end for word in words) and 20 < words[-1].start <= 40


def test_the_task_changes_the_text(exported, runtime):
    with open_whisper_cpp(exported, 1, "translate") as other:
        texts = [engine.transcribe(noise(3), "it", TIMESTAMPS).text for engine in (runtime, other)]
    assert texts[0] != texts[1]


def test_a_recording_has_the_same_text_whatever_came_before(runtime):
    expected = runtime.transcribe(noise(3), "it", PREVIOUS_TEXT)
    runtime.transcribe(noise(3, seed=1), "it", PREVIOUS_TEXT)
    assert runtime.transcribe(noise(3), "it", PREVIOUS_TEXT) == expected


def test_whisper_cpp_prints_nothing(exported, capfd):
    with open_whisper_cpp(exported, 1) as opened:
        opened.transcribe(noise(3), "it", TIMESTAMPS)
    assert capfd.readouterr() == ("", "")


def test_brackets_are_suppressed_as_in_whispers_own_decoding(tmp_path):
    """A model whose likeliest token is always a bracket."""
    import torch

    source = build_source(**SHORT)
    decoder, tokenizer = source.loaded.model.model.decoder, source.loaded.processor.tokenizer
    with torch.no_grad():
        decoder.embed_tokens.weight[tokenizer.convert_tokens_to_ids(["(", "Ġ("])] = 1.0
        decoder.layer_norm.bias += 1.0
    GGML.write(source, tmp_path, "f16")
    with open_whisper_cpp(tmp_path, 1) as opened:
        text = opened.transcribe(noise(3), "it", PLAIN).text
    assert text and "(" not in text


def test_no_samples_have_no_text(runtime):
    """whisper.cpp answers with the text of the recording before, or finds no language."""
    assert runtime.transcribe(noise(3), "it", PLAIN).text
    for samples in (noise(0), noise(0.001), noise(0.09)):
        for language in ("it", None):
            assert runtime.transcribe(samples, language, PLAIN) == Rendition("")


def test_the_language_reaches_the_model_or_is_refused(runtime):
    assert [language_used(runtime, code) for code in ("it", "ru")] == ["it", "ru"]
    assert language_used(runtime, None) in runtime.codes
    for code in ("nap", "yue", "auto", "italian"):
        with pytest.raises(UserError, match=rf"no language {code}\. It knows af, am, .*, zh\."):
            runtime.transcribe(noise(3), code, PLAIN)


def test_a_failure_of_whisper_cpp_is_an_error(runtime, monkeypatch):
    """It refuses an encoder input that is longer than the model's."""
    options = runtime._options("it", PLAIN)
    options.audio_ctx = 1501
    monkeypatch.setattr(WhisperCpp, "_options", lambda *_: options)
    with pytest.raises(UserError, match=r"failed on 48,000 samples \(status -5\)"):
        runtime.transcribe(noise(3), "it", PLAIN)


def test_an_added_language_has_its_own_code(tmp_path):
    source = build_source(**SHORT)
    add_language(source.loaded.model, source.loaded.processor, "nap")
    GGML.write(source, tmp_path, "f16")
    with open_whisper_cpp(tmp_path, 1) as opened:
        assert len(opened.codes) == 100 and language_used(opened, "nap") == "yue"
        with pytest.raises(UserError, match="no language yue"):
            opened.transcribe(noise(3), "yue", PLAIN)


def test_an_english_only_model_knows_english(tmp_path):
    GGML.write(build_source(vocab_size=51864, **SHORT), tmp_path, "f16")
    with open_whisper_cpp(tmp_path, 1) as opened:
        text = opened.transcribe(noise(3), None, PLAIN).text
        assert text and opened.transcribe(noise(3), "en", PLAIN).text == text
        with pytest.raises(UserError, match=r"It knows en\."):
            opened.transcribe(noise(3), "it", PLAIN)


def test_a_model_of_two_decoder_layers_has_no_timestamps(tmp_path):
    GGML.write(build_source(decoder_layers=2, **SHORT), tmp_path, "f16")
    with open_whisper_cpp(tmp_path, 1) as opened:
        assert opened.ways == (PLAIN,) and opened.transcribe(noise(3), "it", PLAIN).text


@pytest.mark.parametrize("precision", ["q8_0", "q5_0"])
def test_large_v3s_shape_runs_in_blocks(tmp_path, precision):
    """128 mels, 51,866 tokens, and four decoder layers as turbo has them."""
    GGML.write(build_source(cantonese=True, num_mel_bins=128, **SHORT), tmp_path, precision)
    with open_whisper_cpp(tmp_path, 1) as opened:
        assert opened.transcribe(noise(3), "yue", PLAIN).text
        assert opened.transcribe(noise(3), "it", WORDS).words


def test_a_folder_needs_one_whole_file(exported, tmp_path):
    with pytest.raises(UserError, match=r"found none"), open_whisper_cpp(tmp_path, 1):
        pass
    data = (exported / "ggml-model.bin").read_bytes()
    (tmp_path / "ggml-model.bin").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"it ends too early"), open_whisper_cpp(tmp_path, 1):
        pass
    (tmp_path / "ggml-model-q8_0.bin").write_bytes(data)
    with (
        pytest.raises(UserError, match=r"found ggml-model-q8_0.bin, ggml-model.bin"),
        open_whisper_cpp(tmp_path, 1),
    ):
        pass


@pytest.mark.slow
def test_base_says_what_transformers_says(italian_prompts, tmp_path):
    import torch

    source = load_export_source(BASE)
    GGML.write(source, tmp_path, "f16")
    prompts = [samples for samples, _ in italian_prompts[:2]]
    processor = source.loaded.processor
    features = processor.feature_extractor(prompts, sampling_rate=16_000, return_tensors="pt").input_features
    with torch.inference_mode():
        ids = source.loaded.model.generate(features, language="it", num_beams=1, do_sample=False)
    expected = [text.strip() for text in processor.tokenizer.batch_decode(ids, skip_special_tokens=True)]
    with open_whisper_cpp(tmp_path, 1) as opened:
        found = [opened.transcribe(samples, "it", PLAIN).text for samples in prompts]
        words = opened.transcribe(prompts[0], None, WORDS).words
    assert found == expected and len(" ".join(found).split()) > 8
    assert len(words) > 3 and words[-1].end == pytest.approx(len(prompts[0]) / 16_000, abs=1.0)
