"""Measure memory: the limits of this process, its use, and its peak."""

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from utils.runtime.out_of_memory import return_freed_memory

if TYPE_CHECKING:
    import torch


Kind = Literal["resident", "private", "address_space", "device"]

SHARE_OF_CAP = 0.98  # of a fixed limit; the rest covers errors of measurement

SHARE_OF_FREE = 0.9  # of the memory that is free now; other programs may need the rest

POLL = 0.001  # seconds between two measurements


@dataclass(frozen=True)
class Usage:
    """Bytes that this process uses, counted in three ways. Each of the three numbers has its own limits."""

    resident: int  # pages in memory: limited by cgroups and by the machine
    private: int  # writable pages of this process, used or not: limited by RLIMIT_DATA
    address_space: int  # all mapped memory: limited by RLIMIT_AS


@dataclass(frozen=True)
class Limit:
    """The largest allowed value of one number of `Usage`."""

    name: str  # what sets the limit
    kind: Kind
    size_bytes: int


def memory_limits(device: "torch.device", sharing: int = 1) -> list[Limit]:
    """Return every memory limit of this process on `device`, minus a safety margin.

    Args:
        device: The device that trains: a CPU, or a GPU of `torch.cuda`.
        sharing: Number of processes of this run on this machine. They share its free memory.
    """
    if device.type == "cuda":
        return [_device_limit(device)]
    return [*_resource_limits(), *_resident_limits(read_usage().resident, sharing)]


def killing_limit(device: "torch.device", sharing: int) -> Limit | None:
    """Return the limit of resident memory at which the kernel would kill this process.

    Return None if an allocation would fail before that. This is so on a GPU, or if the process has a resource
    limit.
    """
    if device.type != "cpu":
        return None
    usage = read_usage()
    limits = memory_limits(device, sharing)
    tightest = min(limits, key=lambda limit: limit.size_bytes - getattr(usage, limit.kind))
    return tightest if tightest.kind == "resident" else None


def _device_limit(device: "torch.device") -> Limit:
    import torch

    return_freed_memory()
    free, _ = torch.cuda.mem_get_info(device)
    held = torch.cuda.memory_reserved(device)
    return Limit("free GPU memory", "device", held + int(free * SHARE_OF_CAP))


def _resource_limits() -> list[Limit]:
    """Return RLIMIT_AS (`ulimit -v`) and RLIMIT_DATA (`ulimit -d`) if they are set.

    Each process has its own.
    """
    import resource

    found = []
    kinds: dict[str, Kind] = {"RLIMIT_AS": "address_space", "RLIMIT_DATA": "private"}
    for name, kind in kinds.items():
        size, _ = resource.getrlimit(getattr(resource, name))
        if size != resource.RLIM_INFINITY:
            found.append(Limit(name, kind, int(size * SHARE_OF_CAP)))
    return found


def _resident_limits(own: int, sharing: int) -> list[Limit]:
    import psutil

    rooms = [("available memory", int(psutil.virtual_memory().available * SHARE_OF_FREE))]
    for folder, limit_file, usage_file in _cgroup_files(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")):
        room = _cgroup_room(folder, limit_file, usage_file)
        if room is not None:
            rooms.append((f"{folder / limit_file}", int(room * SHARE_OF_CAP)))
    return [Limit(name, "resident", own + room // sharing) for name, room in rooms]


def _cgroup_files(membership: Path, mount: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield folder, limit file and usage file of each cgroup of this process, version 2 or 1.

    The limits of parent groups apply too. In a container, the path of the group may be a path of the host,
    and only its last part is mounted. Then the search upwards ends at the mount, which is the container's own
    group.
    """
    if not membership.is_file():
        return
    for line in membership.read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, names = mount, ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            root, names = mount / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        folder = root / path.lstrip("/")
        for member in (folder, *folder.parents):
            if (member / names[0]).is_file():
                yield member, *names
            if member == root:
                break


def _cgroup_room(folder: Path, limit_file: str, usage_file: str) -> int | None:
    """Return the free bytes of a cgroup, including file cache that the kernel can drop.

    None if it has no limit.
    """
    try:
        text = (folder / limit_file).read_text(encoding="utf-8").strip()
        if text == "max" or int(text) >= 1 << 60:  # version 1 writes its largest number for "no limit"
            return None
        used = int((folder / usage_file).read_text(encoding="utf-8"))
        lines = (folder / "memory.stat").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    stat = dict(line.split() for line in lines)
    cache = int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))
    return int(text) - used + cache


def read_usage() -> Usage:
    """Return the memory that this process holds now."""
    import psutil

    info = psutil.Process().memory_info()
    return Usage(info.rss, getattr(info, "data", info.rss), info.vms)  # not told on macOS: data


class ResidentPeak:
    """The peak of resident memory in a block. The value is complete when the block has ended."""

    def __init__(self) -> None:
        self.size_bytes = read_usage().resident

    def count(self, size_bytes: int) -> None:
        self.size_bytes = max(self.size_bytes, size_bytes)


@contextlib.contextmanager
def watching_resident_peak() -> Iterator[ResidentPeak]:
    """Measure the peak memory of a block.

    The kernel records the peak of a process. This function resets that record before the block. If it may
    not, a thread measures the memory every millisecond instead.
    """
    peak = ResidentPeak()
    if _set_back_resident_peak():
        yield peak
        peak.count(_resident_peak())
        return
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(peak, ended), daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def _watch(peak: ResidentPeak, ended: threading.Event) -> None:
    while not ended.is_set():
        peak.count(read_usage().resident)
        time.sleep(POLL)


def _set_back_resident_peak() -> bool:
    """Reset the kernel's VmHWM to the current resident memory; return False if that is not allowed."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _resident_peak() -> int:
    """Return VmHWM in bytes."""
    found = re.search(
        r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    )
    return int(found[1]) * 1024 if found else 0
