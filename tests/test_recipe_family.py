"""The recipes to start from: their values are those of the literature, typed here from its tables."""

import re
from pathlib import Path

import pytest
import yaml

from utils.arguments.parsing import parse_arguments
from utils.arguments.train import TrainArguments

RECIPES = Path(__file__).resolve().parent.parent / "recipes"

# For 1 to 10 hours: smallest and largest rate, clips in a step, epochs; then whether it is an adapter.
RECOMMENDED = {
    "base": ((2.5e-5, 2.5e-5), (16, 16), (5, 10), False),
    "small": ((1e-5, 1e-5), (16, 16), (5, 10), False),
    "medium": ((1e-5, 1e-5), (16, 32), (3, 8), False),
    "large-v3-turbo": ((1e-4, 1e-4), (16, 16), (1, 5), True),
    "large-v3": ((5e-6, 1e-5), (16, 32), (3, 8), False),
}
ADAPTERS = {"use_peft": True, "lora_r": 16, "lora_alpha": 32, "learning_rate": 1e-3, "num_train_epochs": 3.0}
SMALL = {
    "model_name_or_path": "openai/whisper-small",
    "learning_rate": 1e-5,
    "per_device_train_batch_size": 16,
}
FAMILY = {
    "starter_lora": ADAPTERS | {"load_in_4bit": False, "lora_target_modules": ["q_proj", "v_proj"]},
    "starter_qlora": ADAPTERS | {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "preserve": SMALL
    | {
        "dataset_passes": [1.0, 0.1],  # a tenth is replayed
        "interpolation_alphas": [0.2, 0.4, 0.6, 0.8, 1.0],
        "guard_tolerance": 0.0,
    },
    "subtitles": SMALL
    | {
        "timestamp_probability": 0.5,
        "stitch_probability": 0.5,
        "condition_on_prev_probability": 0.1,
        "non_speech_share": 0.1,
    },
    "telephone": SMALL
    | {"codec_probability": 0.6, "codecs": ["telephone", "alaw", "ulaw", "gsm", "amr", "opus"]},
    "domain-words": SMALL | {"num_train_epochs": 5.0},
}


OWN_DATA = ["--dataset", "data/own", "data/other", "--output_dir", "runs/own"]


def read(name: str, *more: str) -> TrainArguments:
    own = [] if name.startswith("starter") else OWN_DATA
    return parse_arguments(TrainArguments, ["--config", str(RECIPES / f"{name}.yaml"), *own, *more])


@pytest.mark.parametrize("size", RECOMMENDED)
def test_the_recommended_values_are_those_published(size):
    rates, clips, epochs, is_adapter = RECOMMENDED[size]
    found = read(f"recommended_{size}")
    assert found.model_name_or_path == f"openai/whisper-{size}"
    for value, (lowest, highest) in (
        (found.learning_rate, rates),
        (found.per_device_train_batch_size * found.gradient_accumulation_steps, clips),
        (found.num_train_epochs, epochs),
    ):
        assert lowest <= value <= highest
    assert (found.lr_scheduler_type, found.warmup_steps, found.max_grad_norm) == ("linear", 0.1, 1.0)
    assert (found.optim, found.average_checkpoints) == ("adamw_torch_fused", 3)
    assert found.speed_factors == [0.9, 1.0, 1.1] and not found.apply_spec_augment
    assert found.interpolation_alphas == [0.25, 0.5, 0.75, 1.0]
    assert found.use_peft is is_adapter
    if is_adapter:
        assert (found.lora_r, found.lora_alpha) == (32, 64)


@pytest.mark.parametrize("name", FAMILY)
def test_the_family_has_the_values_that_make_it(name):
    found = read(name)
    assert {key: getattr(found, key) for key in FAMILY[name]} == FAMILY[name]


@pytest.mark.parametrize("name", ["starter", *FAMILY, *(f"recommended_{size}" for size in RECOMMENDED)])
def test_each_run_scores_the_untuned_model_first(name):
    assert read(name).eval_on_start


@pytest.mark.parametrize("name", [f"recommended_{size}" for size in RECOMMENDED])
def test_each_recommended_value_has_its_confidence(name):
    """Those that change a result: a line that says how sure it is."""
    changes_no_result = {"model_name_or_path", "eval_on_start"}
    changes_no_result |= {"gradient_checkpointing", "auto_find_batch_size"}
    values = [line for line in (RECIPES / f"{name}.yaml").read_text().splitlines() if line[:1].isalpha()]
    unsure = [line for line in values if not re.search(r"# \([HML]\)", line)]
    assert {line.split(":")[0] for line in unsure} <= changes_no_result


def test_the_starters_share_their_data():
    """The same arguments: what the first has prepared, the others reuse."""
    texts = [(RECIPES / f"starter{kind}.preprocess.yaml").read_text() for kind in ("", "_lora", "_qlora")]
    first, *others = map(yaml.safe_load, texts)
    assert others == [first, first]


def test_the_command_line_gives_the_data_and_overrides():
    found = read("recommended_small", "--learning_rate", "2e-5", "--auto_find_batch_size", "false")
    assert (found.dataset, found.output_dir) == (["data/own", "data/other"], "runs/own")
    assert (found.learning_rate, found.auto_find_batch_size) == (2e-5, False)
