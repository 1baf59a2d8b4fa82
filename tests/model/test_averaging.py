"""utils/model/averaging.py: means against numpy, LoRA adapters against the mean of their merged models."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.support.tiny_training import merged
from utils.model.averaging import (
    average_weights,
    averaged_adapter_config,
    check_averaging,
    drop_snapshots,
    find_snapshots,
    rank_evaluation,
    save_snapshot,
)
from utils.model.loading import load_model
from utils.model.saving import read_adapter_config, write_variant
from utils.runtime.errors import UserError


def test_the_best_are_ranked_and_the_earlier_of_equals_goes_first():
    ranking: list[tuple[int, float]] = []
    seen = []
    for step, value in [(10, 0.5), (20, 0.3), (30, 0.5), (40, 0.3), (50, 0.1), (60, 0.9)]:
        ranking = rank_evaluation(ranking, step, value, keep=3)
        seen.append([step for step, _ in ranking])
    assert seen == [[10], [20, 10], [20, 10, 30], [20, 40, 10], [50, 20, 40], [50, 20, 40]]


def test_the_mean_is_numpys(tmp_path):
    random = np.random.default_rng(0)
    models = [
        {"a": random.normal(size=(3, 4)).astype("f4"), "b": random.normal(size=5).astype("f2")}
        for _ in range(3)
    ]
    folders = [tmp_path / str(number) for number in range(3)]
    for folder, model in zip(folders, models, strict=True):
        folder.mkdir()
        save_file({name: torch.tensor(value) for name, value in model.items()}, folder / "model.safetensors")
    mean = average_weights(folders)
    for name in ("a", "b"):
        expected = np.mean([model[name].astype("f8") for model in models], axis=0).astype(
            models[0][name].dtype
        )
        assert mean[name].numpy().dtype == expected.dtype
        np.testing.assert_array_equal(mean[name].numpy(), expected)


def test_models_with_other_weights_have_no_mean(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_file({name: torch.ones(1)}, tmp_path / name / "model.safetensors")
    with pytest.raises(UserError, match="has other weights than"):
        average_weights([tmp_path / "a", tmp_path / "b"])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"fc1": 3}, "alpha_pattern": {"fc1": 5}},
        {"rank_pattern": {"fc1": 3}, "use_rslora": True},
        {"lora_bias": True, "exclude_modules": ["conv1"]},
    ],
    ids=str,
)
def test_stacked_lora_adapters_are_the_mean_of_the_merged_models(adapters, tmp_path, options):
    folders = adapters(3, **options)
    config = averaged_adapter_config(read_adapter_config(folders[0]), 3)
    write_variant(folders[0], tmp_path / "mean", average_weights(folders), adapter_config=config)
    models, found = [merged(folder) for folder in folders], merged(tmp_path / "mean")
    for name, value in found.items():
        expected = sum(model[name] for model in models) / 3
        torch.testing.assert_close(value, expected, atol=2e-6, rtol=2e-6)
    query = "model.encoder.layers.0.self_attn.q_proj.weight"
    assert not torch.allclose(models[0][query], models[1][query], atol=0.1)


def test_dora_and_adalora_are_refused():
    check_averaging(None)
    check_averaging({"peft_type": "LORA"})
    for config in ({"peft_type": "LORA", "use_dora": True}, {"peft_type": "ADALORA"}):
        with pytest.raises(UserError, match="average_checkpoints"):
            check_averaging(config)


def test_snapshots_are_kept_and_dropped(tiny_whisper, tmp_path):
    model = load_model(str(tiny_whisper)).model
    for step in (100, 20, 3):
        save_snapshot(tmp_path, step, model)
    assert [path.name for path in find_snapshots(tmp_path)] == ["step-3", "step-20", "step-100"]
    drop_snapshots(tmp_path, [(100, 0.1), (7, 0.2)])
    assert [path.name for path in find_snapshots(tmp_path)] == ["step-100"]
    assert json.loads((tmp_path / "step-100/config.json").read_text())["d_model"] == 64
