"""utils/model/interpolation.py: the line between two models, LoRA against merged weights, the choice."""

import io
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from tests.support.tiny_training import merged
from utils.model.interpolation import (
    Mixture,
    build_interpolation_table,
    check_interpolation,
    choose_mixture,
    interpolate_weights,
    interpolation_record,
    keeps_guard,
    mixed_weights,
)
from utils.model.saving import write_variant
from utils.runtime.errors import UserError
from utils.scoring.error_rates import ErrorRates


@pytest.fixture
def models(tmp_path):
    """A base in float16 and a tuned model in float32."""
    torch.manual_seed(0)
    base = {"a": torch.randn(3, 4).half(), "model.decoder.embed_tokens.weight": torch.randn(5).half()}
    tuned = {name: value.float() + torch.randn(value.shape) for name, value in base.items()}
    tuned["proj_out.weight"] = tuned["model.decoder.embed_tokens.weight"].clone()
    for name, weights in (("base", base), ("tuned", tuned)):
        (tmp_path / name).mkdir()
        save_file(weights, tmp_path / name / "model.safetensors")
    return tmp_path / "base", tmp_path / "tuned", base, tuned


def test_the_ends_of_the_line_are_the_models_bit_for_bit(models):
    base_folder, tuned_folder, base, tuned = models
    at_base, at_tuned = (interpolate_weights(base_folder, tuned_folder, alpha) for alpha in (0.0, 1.0))
    for name, value in tuned.items():
        original = base.get(name, base["model.decoder.embed_tokens.weight"])
        assert torch.equal(at_base[name], original.float())
        assert torch.equal(at_tuned[name], value)


def test_a_base_without_safetensors_is_refused_before_any_work(tiny_whisper, tmp_path):
    base = Path(shutil.copytree(tiny_whisper, tmp_path / "base"))
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"base: no model.safetensors. Load the model and save it again"):
        check_interpolation(base, None)


def test_between_them_by_hand(models):
    base_folder, tuned_folder, base, tuned = models
    found = interpolate_weights(base_folder, tuned_folder, 0.25)["a"]
    torch.testing.assert_close(found, 0.75 * base["a"].float() + 0.25 * tuned["a"], atol=1e-7, rtol=1e-6)


def test_models_of_another_shape_are_refused(models):
    base_folder, tuned_folder, _, tuned = models
    save_file(tuned | {"a": torch.zeros(4, 4)}, tuned_folder / "model.safetensors")
    with pytest.raises(UserError, match=r"a is \[3, 4\] in .* and \[4, 4\]"):
        interpolate_weights(base_folder, tuned_folder, 0.5)


@pytest.mark.parametrize(
    "options", [{}, {"use_rslora": True, "alpha_pattern": {"fc1": 5}}, {"lora_bias": True}], ids=str
)
def test_a_scaled_lora_adapter_lies_on_the_line_of_the_merged_models(
    adapters,
    tiny_whisper,
    tmp_path,
    options,
):
    if options.get("lora_bias"):
        options = options | {"exclude_modules": ["conv1"]}
    tuned = adapters(1, **options)[0]
    base, end = merged(tiny_whisper), merged(tuned)
    for alpha in (0.0, 0.3, 1.0):
        tensors, config = mixed_weights(tiny_whisper, tuned, alpha)
        write_variant(tuned, tmp_path / "mixed", tensors, adapter_config=config)
        for name, value in merged(tmp_path / "mixed").items():
            expected = base[name] + alpha * (end[name] - base[name])
            torch.testing.assert_close(value, expected, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"peft_type": "ADALORA"}, "ADALORA is not plain LoRA"),
        ({"peft_type": "LORA", "use_dora": True}, "DoRA"),
        ({"peft_type": "LORA", "modules_to_save": ["proj_out"]}, "modules_to_save"),
        ({"peft_type": "LORA", "bias": "lora_only"}, "tuned biases"),
    ],
)
def test_what_lies_on_no_line_is_refused(tiny_whisper, config, reason):
    check_interpolation(tiny_whisper, None)
    check_interpolation(tiny_whisper, {"peft_type": "LORA", "bias": "none"})
    with pytest.raises(UserError, match=reason):
        check_interpolation(tiny_whisper, config)


def test_a_base_that_is_an_adapter_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="itself an adapter"):
        check_interpolation(tmp_path, None)


def mixture(alpha: float, validation: float, *guards: float) -> Mixture:
    rates = [ErrorRates(value, 9, 9, 9) for value in (validation, *guards)]
    return Mixture(alpha, rates[0], {f"guard-{number}": rate for number, rate in enumerate(rates[1:])})


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([(0.5, 0.20, 0.12), (1.0, 0.10, 0.12)], 1.0),  # at the limit is within it
        ([(0.5, 0.20, 0.11), (1.0, 0.10, 0.13)], 0.5),  # the better one breaks the guard
        ([(0.5, 0.20, 0.13), (1.0, 0.10, 0.30)], None),
        ([(0.5, 0.10, 0.05), (1.0, 0.10, 0.02)], 0.5),  # equal: the nearer to the base
        ([(0.25, 0.30, 0.1), (0.5, 0.10, 0.1), (1.0, 0.20, 0.1)], 0.5),
    ],
)
def test_the_rule_of_the_choice(rows, chosen):
    base = mixture(0.0, 0.4, 0.10)
    found = choose_mixture([mixture(*row) for row in rows], base, "normalized_wer", 0.02)
    assert (found.alpha if found else None) == chosen


def test_every_guard_counts_and_none_is_needed():
    base = mixture(0.0, 0.4, 0.1, 0.1)
    assert not keeps_guard(mixture(1.0, 0.1, 0.1, 0.2), base, "normalized_wer", 0.05)
    assert keeps_guard(mixture(1.0, 0.1, 0.1, 0.2), base, "raw_wer", 0.05)
    assert choose_mixture([mixture(1.0, 0.9)], mixture(0.0, 0.4), "normalized_wer", 0.0).alpha == 1.0


def test_the_table_and_the_record_tell_all():
    base, rows = mixture(0.0, 0.4, 0.1), [mixture(0.5, 0.25, 0.11), mixture(1.0, 0.2, 0.5)]
    words = (rows, base, rows[0], "normalized_wer", 0.02)
    file = io.StringIO()
    Console(file=file, width=100).print(build_interpolation_table(*words))
    lines = file.getvalue().splitlines()
    assert any("0.5" in line and "25.00" in line and "chosen" in line for line in lines)
    assert any("50.00" in line and "broken" in line for line in lines)
    record = interpolation_record(*words)
    assert record["chosen_alpha"] == 0.5
    assert [row["keeps_guard"] for row in record["mixtures"]] == [True, True, False]
    assert record["mixtures"][1]["guards"]["guard-0"]["normalized_wer"] == 0.11
