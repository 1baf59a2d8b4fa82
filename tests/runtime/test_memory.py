import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from utils.runtime import memory
from utils.runtime.errors import UserError
from utils.runtime.memory import Limit, killing_limit, memory_limits, read_usage, watching_resident_peak
from utils.runtime.out_of_memory import IN_EVALUATION, explaining_out_of_memory, is_out_of_memory

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


# ---- what is used ------------------------------------------------------------------------------------------


@on_linux
def test_usage_is_what_the_kernel_says():
    lines = Path("/proc/self/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines if line.startswith("Vm"))
    found = read_usage()
    for figure, name in ((found.resident, "VmRSS"), (found.address_space, "VmSize")):
        assert figure == pytest.approx(int(status[name].split()[0]) * 1024, rel=0.05)


@on_linux
@pytest.mark.parametrize("kernel_forgets", [True, False])
def test_the_peak_of_a_block_counts_what_was_freed_in_it_and_nothing_before(kernel_forgets, monkeypatch):
    if not kernel_forgets:
        monkeypatch.setattr(memory, "_set_back_resident_peak", lambda: False)
    del_me = torch.ones(100_000_000)  # 400 MB
    del del_me
    memory.return_freed_memory()
    before = read_usage()
    with watching_resident_peak() as peak:
        held = torch.ones(50_000_000)  # 200 MB
        torch.mul(held, 2).sum()  # as much again
        del held
    assert 390e6 < peak.size_bytes - before.resident < 430e6


# ---- what there is -----------------------------------------------------------------------------------------


def write_group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def rooms(tmp_path: Path, membership: str) -> dict[str, int | None]:
    (tmp_path / "cgroup").write_text(membership)
    found = memory._cgroup_files(tmp_path / "cgroup", tmp_path / "mount")
    return {folder.name: memory._cgroup_room(folder, *names) for folder, *names in found}


def test_version_2_groups_and_those_above_them(tmp_path):
    stat = "anon 10\ninactive_file 300"
    write_group(tmp_path / "mount/jobs/one", memory__max=2000, memory__current=900, memory__stat=stat)
    write_group(tmp_path / "mount/jobs", memory__max=1500, memory__current=1000, memory__stat=stat)
    write_group(tmp_path / "mount", memory__max="max", memory__current=1000, memory__stat=stat)
    assert rooms(tmp_path, "0::/jobs/one\n") == {"one": 1400, "jobs": 800, "mount": None}


def test_version_1_groups(tmp_path):
    stat = "inactive_file 5\ntotal_inactive_file 100"
    names = {"memory__limit_in_bytes": 5000, "memory__usage_in_bytes": 4000, "memory__stat": stat}
    write_group(tmp_path / "mount/memory/job", **names)
    none = names | {"memory__limit_in_bytes": 9223372036854771712}
    write_group(tmp_path / "mount/memory", **none)
    assert rooms(tmp_path, "5:cpu:/x\n4:memory:/job\n") == {"job": 1100, "memory": None}


def test_the_host_s_path_in_a_container_leads_to_the_group_that_is_mounted(tmp_path):
    write_group(tmp_path / "mount", memory__max=700, memory__current=100, memory__stat="inactive_file 0")
    assert rooms(tmp_path, "0::/kubepods/pod1/abc\n") == {"mount": 600}


def test_without_groups_there_is_what_the_machine_has_free():
    limits = [limit for limit in memory_limits(CPU) if limit.name == "available memory"]
    alone, shared = limits[0].size_bytes, memory_limits(CPU, sharing=4)[0].size_bytes
    assert read_usage().resident < shared < alone


@pytest.mark.parametrize(("room", "kills"), [(2_000, True), (500, False)])
def test_the_kernel_kills_where_no_limit_of_the_process_is_reached_first(monkeypatch, room, kills):
    used = read_usage()
    limits = [Limit("a cgroup", "resident", used.resident + 10**9)]
    limits.append(Limit("RLIMIT_DATA", "private", used.private + room * 10**6))
    monkeypatch.setattr(memory, "memory_limits", lambda device, sharing: limits)
    assert killing_limit(CPU, sharing=1) == (limits[0] if kills else None)
    assert killing_limit(torch.device("mps"), sharing=1) is None  # its allocator refuses


@on_linux
def test_ulimits_are_limits():
    script = (
        "import resource, torch\n"
        "resource.setrlimit(resource.RLIMIT_AS, (8_000_000_000,) * 2)\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (3_000_000_000,) * 2)\n"
        "from utils.runtime.memory import memory_limits\n"
        "from utils.runtime.out_of_memory import is_out_of_memory\n"
        "print({l.kind: l.size_bytes for l in memory_limits(torch.device('cpu')) if 'RLIMIT' in l.name})\n"
        "try: torch.ones(2_000_000_000)\n"
        "except RuntimeError as error: print(is_out_of_memory(error))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "{'address_space': 7840000000, 'private': 2940000000}\nTrue\n"
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] != 3_000_000_000  # only there


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("std::bad_alloc"),
        RuntimeError("could not create a primitive"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
)
def test_failed_allocations_are_told_from_faults(error):
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("size mismatch"))
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor for a matmul"))
    assert not is_out_of_memory(KeyboardInterrupt())


def test_what_helps_is_that_of_the_innermost_block():
    with (
        pytest.raises(UserError, match="with only one clip in the batch") as caught,
        explaining_out_of_memory(),
        explaining_out_of_memory(IN_EVALUATION),
    ):
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes")
    assert str(caught.value).count("memory ran out") == 1 and "--memory low" not in str(caught.value)
    with pytest.raises(UserError, match="--auto_find_batch_size"), explaining_out_of_memory():
        raise MemoryError
