"""The recipes of the five systems hold the values that their authors give, each checked after parsing."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from tests.support.recipe_commands import ROOT, read_recipe
from utils.model.adapter_options import AdapterOptions

BLOG = {
    "model_name_or_path": "openai/whisper-small",
    "per_device_train_batch_size": 16,
    "gradient_accumulation_steps": 1,
    "learning_rate": 1e-5,
    "lr_scheduler_type": "linear",
    "warmup_steps": 500,
    "gradient_checkpointing": True,
    "per_device_eval_batch_size": 8,
    "generation_max_length": 225,
    "metric_for_best_model": "raw_wer",
    "logging_steps": 25,
    "report_to": ["tensorboard"],
    "use_peft": False,
}
LORA = {"use_peft": True, "lora_alpha": 32, "lora_dropout": 0.05, "use_rslora": False, "use_dora": False}
INT8 = LORA | {
    "lora_target_modules": ["q_proj", "v_proj"],
    "load_in_8bit": True,
    "per_device_train_batch_size": 8,
    "learning_rate": 1e-3,
    "warmup_steps": 50,
    "num_train_epochs": 1,
    "max_steps": -1,
    "gradient_checkpointing": True,
}
GALICIAN = {
    "per_device_train_batch_size": 16,
    "per_device_eval_batch_size": 16,
    "learning_rate": 1e-5,
    "warmup_steps": 125,
    "gradient_checkpointing": True,
    "generation_max_length": 225,
    "eval_steps": 250,
    "save_steps": 250,
    "metric_for_best_model": "raw_wer",
    "dataset_tags": ["mozilla-foundation/common_voice_11_0"],
    "language": "gl",
}
TRAIN = {
    "blog-hi-small": BLOG | {"max_steps": 4000, "eval_steps": 1000, "save_steps": 1000, "language": "hi"},
    "afrispeech-isizulu-tiny-lora-int8": INT8 | {"model_name_or_path": "openai/whisper-tiny", "lora_r": 32},
    "afrispeech-isizulu-small-lora-int8": INT8 | {"model_name_or_path": "openai/whisper-small", "lora_r": 16},
    "afrispeech-isizulu-medium-lora-int8": INT8
    | {"model_name_or_path": "openai/whisper-medium", "lora_r": 16},
    "cv11-fa-small": BLOG
    | {"num_train_epochs": 1, "max_steps": -1, "eval_steps": 100, "save_total_limit": 2, "language": "fa"},
    "cv11-gl-small": GALICIAN
    | {"model_name_or_path": "openai/whisper-small", "max_steps": 1000, "lr_scheduler_type": "linear"},
    "cv11-gl-medium": GALICIAN
    | {
        "model_name_or_path": "openai/whisper-medium",
        "max_steps": 500,
        "lr_scheduler_type": "cosine",
        "weight_decay": 0.001,
    },
    "children-base-lora": LORA
    | {
        "model_name_or_path": "openai/whisper-base",
        "lora_r": 16,
        "lora_target_modules": ["q_proj", "v_proj", "k_proj", "out_proj"],
        "num_train_epochs": 5,
        "lr_scheduler_type": "cosine",
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 2,
        "per_device_eval_batch_size": 4,
        "learning_rate": 5e-6,
        "warmup_steps": 0.15,
        "eval_steps": 155,
        "save_steps": 310,
        "save_total_limit": 3,
        "logging_steps": 25,
        "generation_max_length": 225,
    },
    "kth-bn-small": {
        "model_name_or_path": "openai/whisper-small",
        "per_device_train_batch_size": 16,
        "per_device_eval_batch_size": 8,
        "learning_rate": 1e-5,
        "warmup_steps": 250,
        "eval_steps": 500,
        "save_steps": 500,
        "max_steps": 1000,
        "language": "bn",
    },
}
LEAK_FREE = {"merge_validation": False, "eval_split": "validation"}
PREPROCESS = {
    "blog-hi-small": {"source": "common_voice", "dataset_config_name": "hi", "fraction": 1.0},
    "afrispeech-isizulu-tiny-lora-int8": {"source": "afrispeech", "accents": ["isizulu"]},
    "afrispeech-isizulu-small-lora-int8": {"source": "afrispeech", "accents": ["isizulu"]},
    "afrispeech-isizulu-medium-lora-int8": {"source": "afrispeech", "accents": ["isizulu"]},
    "cv11-fa-small": {"source": "common_voice", "fraction": 0.6, "archive": True},
    "cv11-gl-small": {"source": "common_voice", "dataset_config_name": "gl"},
    "cv11-gl-medium": {"source": "common_voice", "dataset_config_name": "gl"},
    "children-base-lora": {"source": "folder", "min_segment_duration": 0.5, "also_write": "audiofolder"},
    "kth-bn-small": {"source": "common_voice", "fraction": 0.15, "test_fraction": 0.3},
}
EVALUATE = {  # BasicTextNormalizer, and up to 255 new tokens after the four of the prompt
    f"afrispeech-isizulu-{size}-lora-int8": {
        "per_device_eval_batch_size": 16,
        "generation_max_length": 255 + 4,
        "normalizer": "basic",
    }
    for size in ("tiny", "small", "medium")
}
PRECISION = dict.fromkeys(TRAIN, "fp16") | {"children-base-lora": "no"}


def resolved(name: str, kind: str) -> dict:
    end = ".yaml" if kind == "train" else f".{kind}.yaml"
    return vars(read_recipe(ROOT / "recipes" / f"{name}{end}"))


@pytest.mark.parametrize("name", TRAIN)
def test_a_recipe_has_the_published_values(name: str):
    for kind, expected in (
        ("train", TRAIN[name] | LEAK_FREE),
        ("preprocess", PREPROCESS[name] | {"as_original": False}),
        ("evaluate", EVALUATE.get(name, {}) | {"split": "test"}),
    ):
        values = resolved(name, kind)
        assert {key: values[key] for key in expected} == expected


@pytest.mark.parametrize("name", TRAIN)
def test_the_hardware_of_the_original_is_that_of_the_configuration_it_names(name: str):
    (config,) = re.findall(
        r"^# .*(accelerate_configs/\w+\.yaml)$", (ROOT / "recipes" / f"{name}.yaml").read_text(), re.MULTILINE
    )
    hardware = yaml.safe_load((ROOT / config).read_text())
    assert (hardware["mixed_precision"], hardware["num_processes"]) == (PRECISION[name], 1)
    assert Path(config).stem == ("mps" if name == "children-base-lora" else "single_gpu_fp16")


def test_recipes_of_one_corpus_prepare_it_once():
    """Else the second would find the folder of the first, prepared with other arguments."""
    by_folder: dict[str, list[dict]] = {}
    for name in TRAIN:
        values = resolved(name, "preprocess")
        by_folder.setdefault(values["output_dir"], []).append(values)
    assert sorted(map(len, by_folder.values())) == [1, 1, 1, 1, 2, 3]
    for first, *others in by_folder.values():
        assert all(other == first for other in others)


@pytest.mark.parametrize("name", [name for name in TRAIN if PREPROCESS[name]["source"] == "common_voice"])
def test_a_recipe_of_common_voice_has_a_twin_that_downloads_itself(name: str):
    own, twin = resolved(name, "preprocess"), resolved(f"{name}-fleurs", "preprocess")
    assert (twin["source"], twin["input"]) == ("fleurs", "google/fleurs")
    assert twin["dataset_config_name"].startswith(f"{own['language']}_")
    assert (twin["language"], twin["archive"]) == (own["language"], own["archive"])
    assert twin["output_dir"] == f"{own['output_dir']}-fleurs"


@pytest.mark.parametrize(
    ("name", "shape", "line"),
    [
        (
            "afrispeech-isizulu-tiny-lora-int8",
            (4, 384, 6),
            "trainable params: 589,824 || all params: 38,350,464 || trainable%: 1.5380",
        ),
        (
            "children-base-lora",
            (6, 512, 8),
            "trainable params: 1,179,648 || all params: 73,773,568 || trainable%: 1.5990",
        ),
    ],
)
def test_the_parameters_trained_are_as_many_as_published(name: str, shape: tuple[int, int, int], line: str):
    """From the published shapes alone, https://arxiv.org/abs/2212.04356, table 1: layers, width, heads."""
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    from utils.model.adapters import add_adapter
    from utils.model.whisper import trainable_parameters_line

    layers, width, heads = shape
    each = {"encoder": layers, "decoder": layers}
    sizes = {f"{side}_layers": count for side, count in each.items()}
    sizes |= {f"{side}_attention_heads": heads for side in each}
    sizes |= {f"{side}_ffn_dim": 4 * width for side in each}
    values = resolved(name, "train")
    options = AdapterOptions(**{field.name: values[field.name] for field in fields(AdapterOptions)})
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(WhisperConfig(d_model=width, vocab_size=51_865, **sizes))
        adapted = add_adapter(model, values["model_name_or_path"], options)
    assert trainable_parameters_line(adapted) == line
