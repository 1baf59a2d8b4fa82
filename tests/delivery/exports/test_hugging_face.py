"""Folders for transformers: complete, in the asked precision; adapters as they are."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from tests.support.real_vocabulary import build_source
from utils.delivery.exports.export_format import load_export_source
from utils.delivery.exports.hugging_face import ADAPTER_AS_IT_IS, HUGGING_FACE
from utils.delivery.runtimes import transformers
from utils.model.loading import load_model
from utils.model.whisper import whisper_of


@pytest.fixture(scope="module")
def trained(tiny_whisper, tmp_path_factory):
    """The tiny model with the arguments and the results of a training beside it."""
    folder = shutil.copytree(tiny_whisper, tmp_path_factory.mktemp("trained") / "best")
    (folder / "train.yaml").write_text("audio_context: dynamic\nsilence_run: 64\n")
    (folder / "train_results.json").write_text('{"trainable_parameters": 7}\n')
    return folder


@pytest.mark.parametrize("precision", HUGGING_FACE.precisions)
def test_the_folder_is_complete_and_the_source_stays_as_it_is(trained, tmp_path, precision):
    source = load_export_source(str(trained))
    whisper_of(source.loaded.model).generation_config._from_model_config = True
    assert HUGGING_FACE.find_problems(source, precision) == []
    assert HUGGING_FACE.write(source, tmp_path, precision) == []
    needed = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}
    assert needed | {"preprocessor_config.json", "processor_config.json"} <= names(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == precision
    assert json.loads((tmp_path / "generation_config.json").read_text())["_from_model_config"] is False
    assert whisper_of(source.loaded.model).dtype == torch.float32
    assert not hasattr(whisper_of(source.loaded.model).generation_config, "alignment_heads")
    again = load_model(str(tmp_path))
    assert (again.silence_run, again.trainable_parameters) == (64, 7)
    assert again.model.generation_config.lang_to_id == source.loaded.model.generation_config.lang_to_id
    assert again.model.generation_config.alignment_heads == [[1, 0], [1, 1]]  # the upper of two layers
    size_bytes = {"float32": 4, "float16": 2, "bfloat16": 2}[precision] * again.total_parameters
    assert (tmp_path / "model.safetensors").stat().st_size == pytest.approx(size_bytes, rel=0.1)


def names(folder):
    return {file.name for file in folder.iterdir()}


def test_weights_beyond_float16_and_heads_that_are_not_there_are_refused():
    built = build_source()
    model = whisper_of(built.loaded.model)
    model.generation_config.alignment_heads = [[4, 0]]
    with torch.no_grad():
        model.model.encoder.conv1.bias[0] = 1e6
    assert len(HUGGING_FACE.find_problems(built, "bfloat16")) == 1
    assert len(HUGGING_FACE.find_problems(built, "float16")) == 2


@pytest.fixture(scope="module")
def adapter(tiny_whisper, tmp_path_factory):
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("adapter") / "best"
    loaded = load_model(str(tiny_whisper))
    model = get_peft_model(loaded.model, LoraConfig(r=2, target_modules=["q_proj"]))
    model.peft_config["default"].base_model_name_or_path = str(tiny_whisper)
    model.save_pretrained(folder)
    loaded.processor.save_pretrained(folder)
    loaded.model.generation_config.save_pretrained(folder)
    return folder


def test_an_adapter_is_copied_and_a_local_base_is_noted(adapter, tiny_whisper, tmp_path):
    source = load_export_source(str(adapter))
    assert ADAPTER_AS_IT_IS.find_problems(source, "original") == []
    (note,) = ADAPTER_AS_IT_IS.write(source, tmp_path, "original")
    assert str(tiny_whisper) in note and "Hub id" in note
    assert names(tmp_path) == names(adapter)
    for file in adapter.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize(("base", "notes"), [("openai/whisper-base", 0), ("./gone", 1), ("runs", 1)])
def test_a_base_that_others_can_find_needs_no_note(adapter, tmp_path, monkeypatch, base, notes):
    folder, target = shutil.copytree(adapter, tmp_path / "adapter"), tmp_path / "out"
    target.mkdir()
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = base
    (folder / "adapter_config.json").write_text(json.dumps(config))
    source = replace(load_export_source(str(adapter)), folder=folder)
    assert len(ADAPTER_AS_IT_IS.write(source, target, "original")) == notes


def test_a_whole_model_is_no_adapter(trained):
    (problem,) = ADAPTER_AS_IT_IS.find_problems(load_export_source(str(trained)), "original")
    assert "found a whole model, expected an adapter" in problem


def test_transformers_opens_an_adapter_whose_base_is_not_in_the_cache_of_the_hub(
    adapter, tiny_whisper, tmp_path, monkeypatch
):
    folder = shutil.copytree(adapter, tmp_path / "adapter")
    config = folder / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": "me/base"}))
    before = config.read_bytes()
    asked = []
    monkeypatch.setattr(transformers, "resolve_model", lambda name: asked.append(name) or str(tiny_whisper))
    with transformers.open_transformers_runtime(folder, 1) as runtime:
        loaded = runtime.recognise.model
        assert any("lora" in name for name, _ in loaded.named_parameters())
    assert asked == ["me/base"] and config.read_bytes() == before
