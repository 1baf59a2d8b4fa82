"""stored_weights.py: tensors of any form of a model folder, one at a time; variants of a folder."""

import json

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from utils.model.saving import StoredWeights, local_folder, why_not_plain_lora, write_variant
from utils.runtime.errors import UserError


def test_whole_and_sharded_weights_are_read_alike(tiny_whisper, tmp_path):
    from transformers import WhisperForConditionalGeneration

    model = WhisperForConditionalGeneration.from_pretrained(tiny_whisper)
    model.save_pretrained(tmp_path, max_shard_size="200KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    with StoredWeights(tiny_whisper) as whole, StoredWeights(tmp_path) as shards:
        assert set(whole.names) == set(shards.names)
        assert all(torch.equal(whole.read(name), shards.read(name)) for name in whole.names)


def test_a_tied_weight_is_found_under_both_names(tiny_whisper):
    with StoredWeights(tiny_whisper) as weights:
        assert torch.equal(weights.read("proj_out.weight"), weights.read("model.decoder.embed_tokens.weight"))
        with pytest.raises(UserError, match=r"no weight model\.nothing"):
            weights.read("model.nothing")


def test_a_folder_without_safetensors_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"no model\.safetensors"):
        StoredWeights(tmp_path)


def test_a_local_folder_is_itself(tiny_whisper):
    assert local_folder(str(tiny_whisper)) == tiny_whisper


def test_a_variant_has_other_weights_and_all_else(tmp_path):
    template = tmp_path / "template"
    template.mkdir()
    save_file({"a": torch.zeros(2)}, template / "model-00001-of-00002.safetensors")
    (template / "model.safetensors.index.json").write_text("{}")
    (template / "config.json").write_text("{}")
    write_variant(template, tmp_path / "new", {"a": torch.ones(2)}, adapter_config=None)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["config.json", "model.safetensors"]
    assert load_file(tmp_path / "new/model.safetensors")["a"].tolist() == [1, 1]


def test_a_variant_of_an_adapter_has_another_configuration(tmp_path):
    template = tmp_path / "template"
    template.mkdir()
    (template / "adapter_config.json").write_text('{"r": 2}')
    (template / "adapter_model.safetensors").write_bytes(b"old")
    write_variant(template, tmp_path / "new", {"a": torch.ones(2)}, adapter_config={"r": 4})
    assert json.loads((tmp_path / "new/adapter_config.json").read_text()) == {"r": 4}
    assert "a" in load_file(tmp_path / "new/adapter_model.safetensors")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"use_rslora": True}, None),
        ({"use_dora": True}, "DoRA"),
        ({"init_lora_weights": "pissa"}, "pissa has changed the base"),
        ({"init_lora_weights": "gaussian"}, None),
    ],
)
def test_plain_lora_is_told_from_its_kin(options, expected):
    found = why_not_plain_lora(LoraConfig(target_modules=["q_proj"], **options).to_dict())
    assert found is None if expected is None else expected in found


def test_another_kind_of_adapter_is_named():
    assert "ADALORA is not plain LoRA" in str(why_not_plain_lora({"peft_type": "ADALORA"}))
