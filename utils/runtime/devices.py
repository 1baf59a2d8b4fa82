"""Find the device, its fast precisions, and the memory used."""

import math
import platform
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def pick_device() -> "torch.device":
    """Return the accelerator that torch finds (CUDA, MPS, XPU …). Return the CPU if there is none.

    Also return the CPU if the user gave `accelerate launch` the flag `--cpu`, or `use_cpu` in its
    configuration.
    """
    import torch
    from accelerate.utils import parse_flag_from_env

    if parse_flag_from_env("ACCELERATE_USE_CPU"):
        return torch.device("cpu")
    found = torch.accelerator.current_accelerator(check_available=True)
    return found if found is not None else torch.device("cpu")


def cpu_is_fast_in_bfloat16() -> bool:
    """Check whether the CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX). Other CPUs emulate it."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return False
    text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    return "avx512_bf16" in text or "amx_bf16" in text


def gpu_knows_bfloat16() -> bool:
    """Check whether the GPU multiplies bfloat16 in hardware (NVIDIA from Ampere on).

    Other GPUs emulate it.
    """
    import torch

    return torch.cuda.is_bf16_supported(including_emulation=False)


def pick_dtype(device: "torch.device") -> "torch.dtype":
    """Return the precision in which decoding on `device` is fast and safe."""
    import torch

    if device.type == "cuda":
        return torch.bfloat16 if gpu_knows_bfloat16() else torch.float16
    if device.type == "cpu" and cpu_is_fast_in_bfloat16():
        return torch.bfloat16
    return torch.float32


def pick_accelerate_config() -> str:
    """Return the name of the file in accelerate_configs/ that suits this machine."""
    import torch

    if torch.cuda.is_available():
        return "single_gpu" if gpu_knows_bfloat16() else "single_gpu_fp16"
    if platform.system() == "Darwin" and torch.backends.mps.is_available():
        return "mps"
    return "cpu_bf16" if cpu_is_fast_in_bfloat16() else "cpu"


def default_micro_batch_seconds(device: "torch.device", *, lean: bool = False) -> float:
    """Return how many seconds of audio the encoder gets at once. Larger micro-batches are split.

    On a CPU, parts of 64 s are as fast as larger ones and need less memory. A GPU needs large parts.

    Args:
        device: The device that trains.
        lean: Whether to save memory rather than time.
    """
    if device.type == "cpu":
        return 30.0 if lean else 64.0
    return 120.0 if lean else math.inf


def sum_in_a_fixed_order() -> None:
    """Make CPU runs repeatable bit by bit, so that a resumed run has the same losses as an uninterrupted one.

    Otherwise several threads sum the gradient of Whisper's learned positions (an accumulating `index_put_`)
    in a random order.
    """
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling new memory costs time, and only helps to find reads of uninitialised memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def peak_memory_bytes() -> int:
    """Return the peak memory of this process.

    If it uses a GPU this is GPU memory, otherwise resident memory.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024  # Linux counts in kilobytes
