"""What this machine has: device, fast precisions, memory used."""

import ctypes
import math
import platform
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
KEPT_BLOCK_BYTES = 1 << 30


def pick_device() -> "torch.device":
    """The accelerator that torch finds (CUDA, MPS, XPU …), else the CPU."""
    import torch

    found = torch.accelerator.current_accelerator(check_available=True)
    return found if found is not None else torch.device("cpu")


def cpu_is_fast_in_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX); elsewhere it is emulated."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return False
    text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    return "avx512_bf16" in text or "amx_bf16" in text


def pick_dtype(device: "torch.device") -> "torch.dtype":
    """The precision that decoding is fast and safe in on `device`."""
    import torch

    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu" and cpu_is_fast_in_bfloat16():
        return torch.bfloat16
    return torch.float32


def pick_accelerate_config() -> str:
    """Name of the file in accelerate_configs/ that suits this machine when the user does not choose one."""
    import torch

    if torch.cuda.is_available():
        return "single_gpu"
    if platform.system() == "Darwin" and torch.backends.mps.is_available():
        return "mps"
    return "cpu_bf16" if cpu_is_fast_in_bfloat16() else "cpu"


def default_micro_batch_seconds(device: "torch.device") -> float:
    """Audio seconds, padding counted, that go through the model at once; more are cut into parts.

    On a CPU parts of 64 s are as fast as larger ones and keep memory low; a GPU needs large ones to be busy.
    """
    return 64.0 if device.type == "cpu" else math.inf


def sum_in_a_fixed_order() -> None:
    """Make CPU runs repeatable to the last bit, so that a resumed run has the losses of an uninterrupted one.

    Without it the gradient of Whisper's learned positions, an `index_put_` that accumulates, is summed by
    several threads in whichever order they come.
    """
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling fresh memory costs time and only serves to find reads of garbage.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def reuse_freed_memory() -> None:
    """Have glibc keep the largest blocks, those of gradients and optimiser, for the next step.

    By itself it hands every block over 32 MB back when it is freed. Filling fresh memory page by page takes
    several times as long as writing to it: 118 ms instead of 17 for two gradients of Whisper base's
    embedding.
    """
    if platform.system() != "Linux":
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_THRESHOLD, KEPT_BLOCK_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, KEPT_BLOCK_BYTES)
    except (OSError, AttributeError):  # another C library, with an allocator of its own
        return


def peak_memory_bytes() -> int:
    """Largest memory this process has held: on the GPU where there is one, else resident memory."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024  # Linux counts in kilobytes
