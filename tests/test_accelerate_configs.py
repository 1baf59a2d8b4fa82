"""accelerate_configs/ against Accelerate itself: each loads, holds hardware only, does what its name says."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from utils.runtime.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "accelerate_configs").glob("*.yaml"))
LAUNCH = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
# What belongs to a recipe because it changes the result.
SCIENCE = {
    "gradient_accumulation_steps",
    "gradient_clipping",
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "learning_rate",
    "fsdp_activation_checkpointing",
}

PRINT_STATE = """
import os
from accelerate import Accelerator
accelerator = Accelerator(cpu=True)
print(os.environ.get("WORLD_SIZE", 1), accelerator.num_processes, accelerator.mixed_precision)
print(accelerator.distributed_type)
"""
# Each plugin in the environment that its launcher gives, one after the other; all in one process.
PRINT_PLUGINS = """
import json, os, sys
from accelerate import DeepSpeedPlugin, FullyShardedDataParallelPlugin
found = {}
for name, environment in json.loads(sys.argv[1]).items():
    os.environ.clear()
    os.environ.update(environment)
    if "deepspeed" in name:
        plugin = DeepSpeedPlugin()
        steps = plugin.deepspeed_config["gradient_accumulation_steps"]
        found[name] = plugin.zero_stage, plugin.zero3_init_flag, steps
    else:
        plugin = FullyShardedDataParallelPlugin()
        kind, wrapped = plugin.state_dict_type.name, plugin.transformer_cls_names_to_wrap
        found[name] = plugin.fsdp_version, kind, plugin.activation_checkpointing, wrapped
print(json.dumps(found))
"""


def keys_of(value: object) -> set[str]:
    if not isinstance(value, dict):
        return set()
    return set(value).union(*(keys_of(item) for item in value.values()))


def launch_environment(name: str) -> dict[str, str]:
    """The environment that `accelerate launch` would give the script, worked out by Accelerate."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

    config = str(ROOT / "accelerate_configs" / name)
    arguments = ["--config_file", config, "train.py"]
    args, defaults, _ = _validate_launch_command(launch_command_parser().parse_args(arguments))
    if not args.use_deepspeed:
        return prepare_multi_gpu_env(args)
    args.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
    return prepare_deepspeed_cmd_env(args)[1]


def test_every_kind_of_machine_has_a_config():
    kinds = "cpu cpu_2_processes cpu_bf16 mps single_gpu single_gpu_fp16 multi_gpu"
    kinds += " deepspeed_zero2 deepspeed_zero3 fsdp2"
    assert {path.stem for path in CONFIGS} == set(kinds.split())


@pytest.mark.parametrize(("capability", "picked"), [((9, 0), "single_gpu"), ((7, 5), "single_gpu_fp16")])
def test_a_gpu_that_emulates_bfloat16_trains_in_fp16(monkeypatch, capability: tuple[int, int], picked: str):
    """An H100 and a T4, as torch tells them apart."""
    import torch

    from utils.runtime.devices import pick_accelerate_config
    from utils.runtime.launch import build_accelerator

    pretend_to_have_a_gpu(monkeypatch, capability)
    assert pick_accelerate_config() == picked
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setattr("utils.runtime.launch.pick_device", lambda: torch.device("cuda"))
    monkeypatch.setattr("utils.runtime.launch.Accelerator", stop_here)
    told = {"single_gpu": "reached", "single_gpu_fp16": r"bf16 on Tesla T4: .*single_gpu_fp16\.yaml"}
    with pytest.raises((UserError, InterruptedError), match=told[picked]):
        build_accelerator(1, 1.0)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(InterruptedError):
        build_accelerator(1, 1.0)


def pretend_to_have_a_gpu(monkeypatch, capability: tuple[int, int]) -> None:
    import torch

    monkeypatch.setattr(torch.version, "cuda", "12.8")
    for name, value in {
        "is_available": True,
        "current_device": 0,
        "get_device_properties": SimpleNamespace(major=capability[0], minor=capability[1]),
        "get_device_name": "Tesla T4",
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)


def stop_here(**_) -> None:
    raise InterruptedError("reached")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_accelerate_loads_the_config(path: Path):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    assert config.mixed_precision in ("no", "bf16", "fp16")
    assert config.num_processes == (2 if config.distributed_type.value != "NO" else 1)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_config_holds_hardware_only_and_says_what_it_is_for(path: Path):
    text = path.read_text()
    config = yaml.safe_load(text)
    assert text.startswith("# ")
    assert len(text.splitlines()) <= 25
    held = {
        key for key in keys_of(config) & SCIENCE if (config.get("fsdp_config") or {}).get(key) is not False
    }
    assert not held


def test_a_cpu_config_launches(tmp_path: Path):
    """The one whose precision is not the default; others are launched where training is tested."""
    script = tmp_path / "script.py"
    script.write_text(PRINT_STATE)
    result = subprocess.run(
        [*LAUNCH, "--config_file", "accelerate_configs/cpu_bf16.yaml", str(script)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-2:] == ["1 1 bf16", "DistributedType.NO"]


ALONE = [path for path in CONFIGS if yaml.safe_load(path.read_text())["num_processes"] == 1]


@pytest.mark.parametrize("path", ALONE, ids=lambda path: path.stem)
def test_after_an_error_of_the_script_the_launcher_says_nothing(path: Path, tmp_path: Path, capfd):
    """With several processes, torchrun always reports."""
    from accelerate.commands.launch import launch_command, launch_command_parser

    script = tmp_path / "failing.py"
    script.write_text("raise SystemExit('error: found nothing.')")
    with pytest.raises(SystemExit):  # else it raises an error, and Python prints its traceback
        launch_command(launch_command_parser().parse_args(["--config_file", str(path), str(script)]))
    assert capfd.readouterr().err == "error: found nothing.\n"


@pytest.fixture(scope="module")
def plugins() -> dict[str, list]:
    """What each configuration of sharding makes Accelerate build."""
    names = ["fsdp2"] + (["deepspeed_zero2", "deepspeed_zero3"] if sys.platform == "linux" else [])
    environments = {name: {**launch_environment(f"{name}.yaml"), "DS_ACCELERATOR": "cpu"} for name in names}
    result = subprocess.run(
        [sys.executable, "-c", PRINT_PLUGINS, json.dumps(environments)],
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="DeepSpeed is a requirement on Linux only")
@pytest.mark.parametrize(("name", "stage"), [("deepspeed_zero2", 2), ("deepspeed_zero3", 3)])
def test_the_deepspeed_configs_build_their_plugin(plugins, name: str, stage: int):
    environment = launch_environment(f"{name}.yaml")
    assert environment["ACCELERATE_USE_DEEPSPEED"] == "true"
    assert environment["ACCELERATE_MIXED_PRECISION"] == "bf16"
    assert "ACCELERATE_GRADIENT_ACCUMULATION_STEPS" not in environment
    assert plugins[name] == [stage, False, "auto"]


def test_the_fsdp_config_builds_its_plugin(plugins):
    from transformers.models.whisper.modeling_whisper import WhisperDecoderLayer, WhisperEncoderLayer

    assert launch_environment("fsdp2.yaml")["ACCELERATE_USE_FSDP"] == "true"
    wrapped = [WhisperEncoderLayer.__name__, WhisperDecoderLayer.__name__]
    assert plugins["fsdp2"] == [2, "SHARDED_STATE_DICT", False, wrapped]
