"""What one or many processes need of Accelerate: a checked start, whole models, shared decoding."""

import contextlib
import datetime
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial

import torch
from accelerate import (
    Accelerator,
    DistributedDataParallelKwargs,
    DistributedType,
    InitProcessGroupKwargs,
)
from accelerate.utils import gather_object
from datasets import Dataset
from torch import nn
from transformers import WhisperForConditionalGeneration, WhisperProcessor
from transformers.integrations.deepspeed import set_hf_deepspeed_config, unset_hf_deepspeed_config

from utils.decoding import transcribe
from utils.errors import UserError, WriteError
from utils.files import write_failure
from utils.hardware import gpu_knows_bfloat16, pick_device
from utils.modeling import WhisperLoss, load_model, whisper_of
from utils.progress import AudioProgress, audio_progress
from utils.quantization import Quantization
from utils.validation import ErrorRates, error_rates, score_utterances


def build_accelerator(micro_batch_size: int, max_grad_norm: float, **options) -> Accelerator:
    """An Accelerator for the launcher's configuration, checked against what the recipe says.

    Raises:
        UserError: The launcher's configuration contradicts the recipe, asks for a precision the device lacks,
            or started processes that do not know of each other.
    """
    device = pick_device()
    on_cpu = device.type == "cpu"
    with_deepspeed = os.environ.get("ACCELERATE_USE_DEEPSPEED", "false") == "true"
    _check_precision(device)
    # While one process decodes for a sharded model, the others wait longer than the default 10 minutes.
    waiting = InitProcessGroupKwargs(timeout=datetime.timedelta(hours=4))
    # Buffers never change, and a process that measures its memory makes passes of its own.
    own_buffers = DistributedDataParallelKwargs(broadcast_buffers=False)
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")  # Accelerate knows no other name
    if on_cpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed looks for a GPU and warns
    if on_cpu and with_deepspeed:
        waiting.backend = "gloo"
    accelerator = Accelerator(
        cpu=on_cpu and not with_deepspeed,  # else two CPU processes would not find each other
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
            "mixed_precision fp16 on a CPU: it has bf16 or none. Use accelerate_configs/cpu_bf16.yaml."
        )
    if device.type == "cuda" and asked == "bf16" and not gpu_knows_bfloat16():
        raise UserError(
            f"mixed_precision bf16 on {torch.cuda.get_device_name()}: it only emulates it, and has fp16. Use "
            "accelerate_configs/single_gpu_fp16.yaml, or on several GPUs --mixed_precision fp16."
        )


def _check_launcher(accelerator: Accelerator) -> None:
    if accelerator.gradient_accumulation_steps != 1:
        raise UserError(
            "gradient_accumulation_steps: the launcher's configuration says "
            f"{accelerator.gradient_accumulation_steps}. Take it out there; it belongs to the recipe."
        )
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size != accelerator.num_processes:
        raise UserError(
            f"{world_size} processes were started, but each sees {accelerator.num_processes}: they would "
            "train apart and overwrite each other. Use a configuration of accelerate_configs/."
        )


@contextlib.contextmanager
def loading_whole(accelerator: Accelerator) -> Iterator[None]:
    """While a model is loaded: under ZeRO-3 transformers would shard it at once, which its Whisper cannot."""
    plugin = accelerator.state.deepspeed_plugin
    if plugin is None:
        yield
        return
    unset_hf_deepspeed_config()
    try:
        yield
    finally:
        set_hf_deepspeed_config(plugin.dschf)


@contextlib.contextmanager
def failing_together(accelerator: Accelerator) -> Iterator[None]:
    """Every process writes something in the block; where one fails to, all raise at its end.

    Raises:
        WriteError: The disk refused on some process; the text is that process's.
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


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether each process holds only a part of the weights (FSDP, DeepSpeed ZeRO-3)."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        return accelerator.state.deepspeed_plugin.zero_stage == 3
    return accelerator.distributed_type == DistributedType.FSDP


def check_not_split(accelerator: Accelerator, features: Sequence[str]) -> None:
    """Refuse what needs each tensor and each step of the optimiser in one piece.

    Raises:
        UserError: Some of the features are asked for under DeepSpeed or FSDP.
    """
    if features and accelerator.distributed_type in (DistributedType.DEEPSPEED, DistributedType.FSDP):
        raise UserError(
            f"{', '.join(features)} under {accelerator.distributed_type.value}: expected one device, or a "
            "copy of the model on each. Use single_gpu.yaml, multi_gpu.yaml or a CPU configuration."
        )


def whole_model(accelerator: Accelerator, prepared: nn.Module) -> nn.Module | None:
    """The model that `WhisperLoss` holds, with all its weights; all processes call it.

    Without sharding this is the trained module itself, on every process. A sharded model is gathered into a
    copy on the main process, because decoding takes a different number of steps on each process and would
    hang; the others get None.
    """
    loss: WhisperLoss = accelerator.unwrap_model(prepared)
    if not is_sharded(accelerator):
        return loss.model
    weights = accelerator.get_state_dict(prepared)
    if not accelerator.is_main_process:
        return None
    copy = _empty_copy(loss.model)
    copy.load_state_dict({name.removeprefix("model."): value for name, value in weights.items()})
    return copy.to(accelerator.device)


def _empty_copy(model: nn.Module) -> nn.Module:
    """A model of the same shape, adapters included, with weights of its own."""
    from peft import PeftModel, get_peft_model

    whisper = whisper_of(model)
    copy = WhisperForConditionalGeneration(whisper.config)
    copy.generation_config = whisper.generation_config
    if not isinstance(model, PeftModel):
        return copy
    # A configuration of its own: PEFT enters there what the copy was loaded from, which is nothing.
    config = deepcopy(model.active_peft_config)
    config.base_model_name_or_path = None
    adapted = get_peft_model(copy, config)
    config.base_model_name_or_path = model.active_peft_config.base_model_name_or_path
    return adapted


def transcribe_on_all_processes(
    accelerator: Accelerator,
    prepared: nn.Module,
    processor: WhisperProcessor,
    rows: Dataset,
    *,
    batch_size: int,
    max_length: int,
    task: str,
    cut_short: Callable[[], bool] = lambda: False,
) -> list[str] | None:
    """Transcribe the rows in the full audio context, shared among the processes; all processes call it.

    Args:
        cut_short: Asked after every batch; a process that is told True leaves the rest.

    Returns:
        The hypotheses in the order of the rows, on every process; None on all where one was cut short.
    """
    sharing = 1 if is_sharded(accelerator) else accelerator.num_processes
    return _share_transcription(
        accelerator,
        whole_model(accelerator, prepared),
        processor,
        rows,
        sharing=sharing,
        batch_size=batch_size,
        max_length=max_length,
        task=task,
        cut_short=cut_short,
    )


class CutShortError(Exception):
    """Decoding was left between two batches, because some process is told to stop."""


def score_folder(
    accelerator: Accelerator,
    name_or_path: str,
    splits: Mapping[str, Dataset],
    *,
    normalizer: str,
    batch_size: int,
    max_length: int,
    task: str,
    quantization: Quantization | None = None,
    cut_short: Callable[[], bool] = lambda: False,
) -> dict[str, ErrorRates]:
    """Load a model of its own on every process and score it in the full audio context; all processes call it.

    Args:
        name_or_path: A model folder, adapter folder or Hub id, which every process can read.
        splits: Rows to decode, by any name.
        quantization: Of a model, or of the base of an adapter.
        cut_short: Asked after every batch; a process that is told True leaves the rest.

    Returns:
        The error rates by the same names, equal on every process.

    Raises:
        CutShortError: On all processes, where one was cut short.
    """
    is_quantized = quantization is not None
    with loading_whole(accelerator):
        loaded = load_model(name_or_path, keep_adapter=is_quantized, quantization=quantization)
    model = loaded.model if is_quantized else loaded.model.to(accelerator.device)
    found = {}
    for name, rows in splits.items():
        hypotheses = _share_transcription(
            accelerator,
            model,
            loaded.processor,
            rows,
            sharing=accelerator.num_processes,
            batch_size=batch_size,
            max_length=max_length,
            task=task,
            cut_short=cut_short,
        )
        if hypotheses is None:
            raise CutShortError
        found[name] = error_rates(
            score_utterances(list(rows["id"]), list(rows["text"]), hypotheses, normalizer)
        )
    return found


def _share_transcription(
    accelerator: Accelerator,
    model: nn.Module | None,
    processor: WhisperProcessor,
    rows: Dataset,
    *,
    sharing: int,
    batch_size: int,
    max_length: int,
    task: str,
    cut_short: Callable[[], bool],
) -> list[str] | None:
    """The hypotheses of all rows, on every process; the first `sharing` processes have a model and decode."""
    texts: dict[int, str] | None = {}
    if model is not None:
        own = list(range(accelerator.process_index, len(rows), sharing))
        share = rows.select(own)
        with (
            accelerator.autocast(),
            audio_progress("validating", len(own), shown=accelerator.is_main_process) as progress,
        ):
            try:
                found = transcribe(
                    model,
                    processor,
                    share["audio"],
                    list(share["duration"]),
                    list(share["language"]),
                    audio_context="full",
                    batch_size=batch_size,
                    max_length=max_length,
                    task=task,
                    on_batch=partial(_advance_or_leave, progress, cut_short),
                )
                texts = dict(zip(own, found, strict=True))
            except CutShortError:
                texts = None
    shares = gather_object([texts])
    if None in shares:
        return None
    joined = {index: text for share in shares for index, text in share.items()}
    return [joined[index] for index in sorted(joined)]


def _advance_or_leave(
    progress: AudioProgress, cut_short: Callable[[], bool], clips: int, seconds: float
) -> None:
    progress.advance(clips, seconds)
    if cut_short():
        raise CutShortError


def clip_gradients(accelerator: Accelerator, prepared: nn.Module, max_grad_norm: float) -> torch.Tensor:
    """Clip the gradients and return their norm before that, a scalar equal on all processes.

    DeepSpeed has clipped them itself, and has stepped. A `max_grad_norm` of 0 clips nothing, as in DeepSpeed
    and in transformers' Trainer.
    """
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        return torch.tensor(float(prepared.get_global_grad_norm() or 0.0))  # type: ignore[operator]
    norm = accelerator.clip_grad_norm_(prepared.parameters(), max_grad_norm or math.inf)
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm
