"""ONNX Runtime on exported files: the texts of transformers' own generation."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.real_vocabulary import build_source
from utils.delivery.exports.export_format import load_export_source
from utils.delivery.exports.onnx import ONNX
from utils.delivery.runtimes.onnx_runtime import OnnxRuntime, last_whole_segment, open_onnx_runtime
from utils.delivery.runtimes.runtime import Way
from utils.model.whisper import whisper_of
from utils.runtime.errors import UserError

PLAIN, TIMESTAMPS = Way(), Way(timestamps=True)
SHORT = {"max_target_positions": 48}
BASE = "openai/whisper-base"


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=round(seconds * 16_000)).astype(np.float32)


def generate(source, samples: np.ndarray, **options) -> str:
    """What transformers writes for a clip."""
    model, processor = whisper_of(source.loaded.model), source.loaded.processor
    features = processor.feature_extractor(samples, sampling_rate=16_000, return_tensors="pt").input_features
    options |= {"num_beams": 1, "do_sample": False}
    with torch.inference_mode():
        tokens = model.generate(features, **options)
    return processor.tokenizer.decode(tokens[0], skip_special_tokens=True).strip()


def build_talkative(**shape: int):
    """A random model that hears and does not repeat itself, so that no token can be taken for another."""
    source = build_source(**SHORT, **shape)
    decoder = whisper_of(source.loaded.model).model.decoder
    with torch.no_grad():
        decoder.embed_tokens.weight *= 5
        decoder.embed_positions.weight *= 20
        for layer in decoder.layers:
            layer.self_attn.out_proj.weight *= 10
            layer.encoder_attn.out_proj.weight *= 10
    return source


@pytest.fixture(scope="module")
def source():
    return build_talkative()


@pytest.fixture(scope="module")
def exported(source, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    ONNX.write(source, folder, "float32")
    return folder


@pytest.fixture(scope="module")
def runtime(exported) -> Iterator[OnnxRuntime]:
    with open_onnx_runtime(exported, 1) as opened:
        yield opened


@pytest.mark.parametrize("language", ["it", None])
def test_a_clip_has_the_text_of_transformers(source, runtime, language):
    options = {"language": language, "task": "transcribe"}
    text = runtime.transcribe(noise(3), language, PLAIN).text
    assert text == generate(source, noise(3), **options)
    assert len(text) > 20
    assert text != runtime.transcribe(noise(3), "ru", PLAIN).text


def test_timestamps_follow_whispers_rules(source, runtime):
    """Words of the first window; the next ones are padded with silence here, with zeros in transformers."""
    text = runtime.transcribe(noise(30), "it", TIMESTAMPS).text
    expected = generate(source, noise(30), language="it", task="transcribe", return_timestamps=True)
    assert text.split()[:4] == expected.split()[:4] != []
    assert text != runtime.transcribe(noise(30), "it", PLAIN).text


def test_the_task_changes_the_text(exported, runtime):
    with open_onnx_runtime(exported, 1, "translate") as other:
        assert other.transcribe(noise(3), "it", PLAIN) != runtime.transcribe(noise(3), "it", PLAIN)


def test_a_recording_is_read_in_windows(runtime):
    both = np.concatenate([noise(30), noise(3, seed=1)])
    parts = [runtime.transcribe(part, "it", PLAIN).text for part in (both[:480_000], both[480_000:])]
    found = runtime.transcribe(both, "it", PLAIN).text
    assert found.replace(" ", "") == "".join(parts).replace(" ", "")
    assert runtime.transcribe(noise(0), "it", PLAIN).text == ""


@pytest.mark.parametrize(
    ("tokens", "kept", "seconds"),
    [
        ([100, 1, 2, 150, 150, 3, 4], [100, 1, 2, 150], 1.0),  # the second segment has no end
        ([100, 1, 150, 160, 2, 200], [100, 1, 150, 160, 2, 200], None),  # everything is said
        ([100, 1, 150, 160, 2, 200, 200], [100, 1, 150, 160, 2, 200], 2.0),
        ([100, 1, 2], [100, 1, 2], None),
        ([], [], None),
    ],
)
def test_the_next_window_starts_at_the_last_whole_segment(tokens, kept, seconds):
    assert last_whole_segment(tokens, 100) == (kept, seconds)


def test_an_english_only_model_takes_no_language(tmp_path):
    source = build_talkative(vocab_size=51864)
    generation_config = whisper_of(source.loaded.model).generation_config
    del generation_config.lang_to_id
    generation_config.is_multilingual = False
    ONNX.write(source, tmp_path, "float32")
    with open_onnx_runtime(tmp_path, 1) as opened:
        text = opened.transcribe(noise(3), None, PLAIN).text
        assert text == opened.transcribe(noise(3), "en", PLAIN).text == generate(source, noise(3))


def test_a_folder_without_its_files_is_refused(exported, tmp_path):
    (tmp_path / "onnx").mkdir()
    with pytest.raises(UserError, match="expected one encoder_model, found none"):
        open_onnx_runtime(tmp_path, 1).__enter__()
    for name in ("encoder_model.onnx", "encoder_model_fp16.onnx"):
        (tmp_path / "onnx" / name).touch()
    with pytest.raises(UserError, match=r"found encoder_model\.onnx, encoder_model_fp16\.onnx"):
        open_onnx_runtime(tmp_path, 1).__enter__()


@pytest.mark.slow
def test_real_speech_has_the_text_of_the_source(italian_prompts, tmp_path):
    source, options = load_export_source(BASE), {"language": "it", "task": "transcribe"}
    ONNX.write(source, tmp_path, "float32")
    clips = [samples for samples, _ in italian_prompts[:2]]
    with open_onnx_runtime(tmp_path, 1) as opened:
        for clip in clips:
            assert opened.transcribe(clip, "it", PLAIN).text == generate(source, clip, **options)
        timed = generate(source, clips[0], **options, return_timestamps=True)
        assert opened.transcribe(clips[0], "it", TIMESTAMPS).text == timed
