"""Memory: what there is for this process, what it uses, and the most it used in between."""

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

SHARE_OF_CAP = 0.98  # of a limit that somebody has set: all but what a measurement may miss

SHARE_OF_FREE = 0.9  # of what happens to be free now, which others may want as well

POLL = 0.001  # seconds between two looks at the memory used


@dataclass(frozen=True)
class Usage:
    """Bytes that this process holds, counted in the ways in which they may be limited."""

    resident: int  # pages in memory: what a cgroup and the machine itself run out of
    private: int  # writable and its own, touched or not: what RLIMIT_DATA counts
    address_space: int  # everything mapped: what RLIMIT_AS counts


@dataclass(frozen=True)
class Limit:
    """The most that one figure of `Usage` may come to."""

    name: str  # of what sets it
    kind: Kind
    size_bytes: int


def memory_limits(device: "torch.device", sharing: int = 1) -> list[Limit]:
    """Every limit that holds for this process on `device`, a safety margin already taken off.

    Args:
        device: Where training runs: a CPU, or a GPU of `torch.cuda`.
        sharing: Processes of this run on this machine; they share what is free in the machine and its cgroup.
    """
    if device.type == "cuda":
        return [_device_limit(device)]
    return [*_resource_limits(), *_resident_limits(read_usage().resident, sharing)]


def killing_limit(device: "torch.device", sharing: int) -> Limit | None:
    """What the kernel kills this process by, if nothing is at its end before: a limit of resident memory.

    None where an allocation fails first, on a GPU or under a limit of the process.
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
    """RLIMIT_AS (`ulimit -v`) and RLIMIT_DATA (`ulimit -d`), where they are set; each process has its own."""
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
    """Folder, file of the limit and file of the usage of this process's cgroups, version 2 and 1.

    Limits of the groups above hold as well. In a container the path may be the host's, of which only the last
    part is mounted; the walk upwards then ends at the mount, which is the container's own group.
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
    """Bytes left in a cgroup, the file cache that the kernel would give up counted in; None without limit."""
    try:
        text = (folder / limit_file).read_text(encoding="utf-8").strip()
        if text == "max" or int(text) >= 1 << 60:  # version 1 writes its largest number for none
            return None
        used = int((folder / usage_file).read_text(encoding="utf-8"))
        lines = (folder / "memory.stat").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    stat = dict(line.split() for line in lines)
    cache = int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))
    return int(text) - used + cache


def read_usage() -> Usage:
    """What this process holds now."""
    import psutil

    info = psutil.Process().memory_info()
    return Usage(info.rss, getattr(info, "data", info.rss), info.vms)  # not told on macOS: data


class ResidentPeak:
    """The most resident memory of a block; complete when the block has ended."""

    def __init__(self) -> None:
        self.size_bytes = read_usage().resident

    def count(self, size_bytes: int) -> None:
        self.size_bytes = max(self.size_bytes, size_bytes)


@contextlib.contextmanager
def watching_resident_peak() -> Iterator[ResidentPeak]:
    """Find the most memory a block holds.

    The kernel keeps the peak, which is set back here. Where it cannot be, a thread looks every millisecond.
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
    """Set the kernel's VmHWM to what is resident now; False where that is refused."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _resident_peak() -> int:
    """VmHWM in bytes."""
    found = re.search(
        r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    )
    return int(found[1]) * 1024 if found else 0
