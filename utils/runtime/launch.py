"""Check how the processes were started and what this way supports. Let all processes fail if one fails."""

import contextlib
import datetime
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar, cast

import torch
import yaml
from accelerate import Accelerator, DistributedDataParallelKwargs, DistributedType, InitProcessGroupKwargs
from accelerate.state import PartialState
from accelerate.utils import broadcast_object_list, gather_object, str_to_bool
from transformers.integrations.deepspeed import set_hf_deepspeed_config, unset_hf_deepspeed_config

from utils.runtime.devices import gpu_knows_bfloat16, pick_device
from utils.runtime.errors import UserError, WriteError
from utils.runtime.files import write_failure

Result = TypeVar("Result")


def build_accelerator(micro_batch_size: int, max_grad_norm: float, **options) -> Accelerator:
    """Build an Accelerator from the launcher's configuration, and check it against the recipe.

    Raises:
        UserError: The launcher's configuration contradicts the recipe, or it asks for a precision that the
            device does not have, or it started processes that are not connected.
    """
    device = pick_device()
    on_cpu = device.type == "cpu"
    with_deepspeed = os.environ.get("ACCELERATE_USE_DEEPSPEED", "false") == "true"
    _check_precision(device)
    # One process decodes for a sharded model; the others may wait longer than the default of 10 minutes.
    waiting = InitProcessGroupKwargs(timeout=datetime.timedelta(hours=4))
    # Buffers never change, and a process that measures its memory runs extra passes alone.
    own_buffers = DistributedDataParallelKwargs(broadcast_buffers=False)
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")  # Accelerate has no other name
    if on_cpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed looks for a GPU and warns
    if on_cpu and with_deepspeed:
        waiting.backend = "gloo"
    accelerator = Accelerator(
        cpu=on_cpu and not with_deepspeed,  # else two CPU processes would not connect
        kwargs_handlers=[waiting, own_buffers],
        **options,
    )
    _check_launcher(accelerator)
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        config = accelerator.state.deepspeed_plugin.deepspeed_config
        config["train_micro_batch_size_per_gpu"] = micro_batch_size
        config["gradient_clipping"] = max_grad_norm
    return accelerator


def _check_precision(device: torch.device) -> None:
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION")
    if device.type == "cpu" and asked == "fp16":
        raise UserError(
            "mixed_precision fp16 on a CPU: expected bf16 or no. Use accelerate_configs/cpu_bf16.yaml."
        )
    if device.type == "cuda" and asked == "bf16" and not gpu_knows_bfloat16():
        raise UserError(
            f"mixed_precision bf16 on {torch.cuda.get_device_name()}: this GPU only emulates bf16. Use fp16: "
            "accelerate_configs/single_gpu_fp16.yaml, or on several GPUs --mixed_precision fp16."
        )


def check_gpu_is_there() -> None:
    """Check that there is a GPU if the launcher's configuration asks for one.

    Raises:
        UserError: There is none. Training would run on the CPU, and much longer than estimated.
    """
    if pick_device().type == "cpu" and _launcher_asks_for_gpu():
        raise UserError(
            "Accelerate's configuration asks for a GPU (use_cpu: false), but PyTorch finds none. Check the "
            'driver by: python -c "import torch; print(torch.cuda.is_available())". To train on the CPU, use '
            "accelerate_configs/cpu.yaml."
        )


def _launcher_asks_for_gpu() -> bool:
    """Check whether `accelerate launch` started this process with `use_cpu: false`.

    The launcher tells this to a single process. If it starts several, read its configuration, which is named
    on its command line (Linux only).
    """
    told = os.environ.get("ACCELERATE_USE_CPU")
    if told is not None:
        return not str_to_bool(told)
    if "ACCELERATE_MIXED_PRECISION" not in os.environ:
        return False  # not started by `accelerate launch`
    try:
        words = Path(f"/proc/{os.getppid()}/cmdline").read_text(encoding="utf-8").split("\0")
        config = yaml.safe_load(Path(words[words.index("--config_file") + 1]).read_text(encoding="utf-8"))
        return "--cpu" not in words and config["use_cpu"] is False
    except (OSError, ValueError, IndexError, KeyError, TypeError, yaml.YAMLError):
        return False


def _check_launcher(accelerator: Accelerator) -> None:
    if accelerator.gradient_accumulation_steps != 1:
        raise UserError(
            "gradient_accumulation_steps: the launcher's configuration says "
            f"{accelerator.gradient_accumulation_steps}. Remove it there and set it in the recipe."
        )
    _check_processes(accelerator.num_processes, "they would train separately and overwrite each other")


def _check_processes(seen: int, harm: str) -> None:
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != seen:
        raise UserError(
            f"{started} processes were started, but each one sees {seen}: {harm}. "
            "Use a configuration of accelerate_configs/."
        )


@contextlib.contextmanager
def loading_whole(accelerator: Accelerator) -> Iterator[None]:
    """Prevent sharding while a model is loaded.

    Under ZeRO-3, transformers would shard it, which fails for Whisper.
    """
    plugin = accelerator.state.deepspeed_plugin
    if plugin is not None:
        unset_hf_deepspeed_config()
    try:
        yield
    finally:
        if plugin is not None:
            set_hf_deepspeed_config(plugin.dschf)


def is_sharded(accelerator: Accelerator) -> bool:
    """Check whether each process holds only a part of the weights (FSDP, DeepSpeed ZeRO-3)."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        return accelerator.state.deepspeed_plugin.zero_stage == 3
    return accelerator.distributed_type == DistributedType.FSDP


def check_not_split(accelerator: Accelerator, features: Sequence[str]) -> None:
    """Refuse features that do not work if tensors or optimiser steps are split over processes.

    Args:
        features: The names of the requested features.

    Raises:
        UserError: A feature is requested under DeepSpeed or FSDP.
    """
    if features and accelerator.distributed_type in (DistributedType.DEEPSPEED, DistributedType.FSDP):
        raise UserError(
            f"{', '.join(features)} under {accelerator.distributed_type.value}: this needs one device, or a "
            "copy of the model on each device. Use single_gpu.yaml, multi_gpu.yaml or a CPU configuration."
        )


def start_processes() -> PartialState:
    """Connect this process to the others that the launcher started. Without a launcher there are no others.

    Raises:
        UserError: The started processes are not connected.
    """
    # One process may decode much longer than another; the default limit would end both after 10 minutes.
    state = PartialState(cpu=pick_device().type == "cpu", timeout=datetime.timedelta(hours=4))
    _check_processes(state.num_processes, "each would score everything")
    return state


@contextlib.contextmanager
def failing_together() -> Iterator[None]:
    """If one process failed to write in the block, raise an error on all processes at its end.

    Raises:
        WriteError: A process could not write. All processes get the message of that process.
    """
    fault = ""
    try:
        yield
    except Exception as error:
        fault = write_failure(error)
        if not fault:
            raise
    faults = [found for found in gather_object([fault]) if found]
    if faults:
        raise WriteError(faults[0])


def on_main_process(accelerator: Accelerator, action: Callable[[], Result]) -> Result:
    """Do `action` on the main process, and give its result or its `UserError` to all processes."""
    answer: list[Result | UserError | None] = [None]
    if accelerator.is_main_process:
        try:
            answer = [action()]
        except UserError as error:
            answer = [error]
    found = broadcast_object_list(answer)[0]
    if isinstance(found, UserError):
        raise found
    return cast(Result, found)


def describe_hardware(accelerator: Accelerator) -> str:
    """Describe devices and precision, such as `2 x cuda, precision bf16`."""
    precision = "float32" if accelerator.mixed_precision == "no" else accelerator.mixed_precision
    return f"{accelerator.num_processes} x {accelerator.device.type}, precision {precision}"
