"""What this machine has: device, fast precisions, memory used."""

import math
import platform
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def pick_device() -> "torch.device":
    """The accelerator that torch finds (CUDA, MPS, XPU …), else the CPU.

    The CPU as well where `accelerate launch` was told so (`--cpu`, or `use_cpu` in its config).
    """
    import torch
    from accelerate.utils import parse_flag_from_env

    if parse_flag_from_env("ACCELERATE_USE_CPU"):
        return torch.device("cpu")
    found = torch.accelerator.current_accelerator(check_available=True)
    return found if found is not None else torch.device("cpu")


def cpu_is_fast_in_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX); elsewhere it is emulated."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return False
    text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    return "avx512_bf16" in text or "amx_bf16" in text


def gpu_knows_bfloat16() -> bool:
    """Whether the CUDA GPU multiplies bfloat16 in hardware (NVIDIA from Ampere); older ones emulate it."""
    import torch

    return torch.cuda.is_bf16_supported(including_emulation=False)


def pick_dtype(device: "torch.device") -> "torch.dtype":
    """The precision that decoding is fast and safe in on `device`."""
    import torch

    if device.type == "cuda":
        return torch.bfloat16 if gpu_knows_bfloat16() else torch.float16
    if device.type == "cpu" and cpu_is_fast_in_bfloat16():
        return torch.bfloat16
    return torch.float32


def pick_accelerate_config() -> str:
    """Name of the file in accelerate_configs/ that suits this machine when the user does not choose one."""
    import torch

    if torch.cuda.is_available():
        return "single_gpu" if gpu_knows_bfloat16() else "single_gpu_fp16"
    if platform.system() == "Darwin" and torch.backends.mps.is_available():
        return "mps"
    return "cpu_bf16" if cpu_is_fast_in_bfloat16() else "cpu"


def default_micro_batch_seconds(device: "torch.device", *, lean: bool = False) -> float:
    """Seconds that the encoder works on at once; a micro-batch of more is cut into parts.

    On a CPU parts of 64 s are as fast as larger ones and keep memory low; a GPU needs large ones to be busy.

    Args:
        device: Where training runs.
        lean: Whether memory matters more than speed.
    """
    if device.type == "cpu":
        return 30.0 if lean else 64.0
    return 120.0 if lean else math.inf


def sum_in_a_fixed_order() -> None:
    """Make CPU runs repeatable to the last bit, so that a resumed run has the losses of an uninterrupted one.

    Without it the gradient of Whisper's learned positions, an `index_put_` that accumulates, is summed by
    several threads in whichever order they come.
    """
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling fresh memory costs time and only serves to find reads of garbage.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def peak_memory_bytes() -> int:
    """Largest memory this process has held: on the GPU where it uses one, else resident memory."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024  # Linux counts in kilobytes
