"""Freed memory given back to the system, which glibc would keep."""

import ctypes
import gc
import sys

MMAP_THRESHOLD_BYTES = 1 << 20

TRIM_THRESHOLD_BYTES = 1 << 23

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt


def return_freed_memory() -> None:
    """Hand what Python, glibc and the allocators of devices keep for reuse back to the machine."""
    gc.collect()
    if "torch" in sys.modules:
        from accelerate.utils.memory import clear_device_cache

        clear_device_cache()
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def keep_no_freed_memory() -> None:
    """From now on hand large blocks back to the machine as soon as they are freed.

    By itself glibc raises the size from which it does so up to 32 MB, once blocks of such sizes are freed; it
    then fits tensors of ever different sizes into holes, of which more and more are left over.
    """
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES)


def _glibc() -> ctypes.CDLL | None:
    """The C library where it is glibc."""
    if sys.platform != "linux":
        return None
    try:
        libc = ctypes.CDLL("libc.so.6")
        return libc if hasattr(libc, "malloc_trim") else None
    except OSError:
        return None
