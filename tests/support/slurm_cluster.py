"""A real Slurm cluster of two nodes on this machine, for as long as a test needs it.

One munged, one slurmctld and a slurmd for each node, all run by the user who tests and all in one temporary
folder; their ports are free ones. The nodes have what they are said to have, whatever the machine has.
"""

import contextlib
import getpass
import os
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
NODES = ("n1", "n2")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full")  # are said to be GPUs: Slurm wants a device for each
START_LIMIT = 30.0  # seconds
STOP_LIMIT = 15.0
ASKING = 0.3  # between two questions to the cluster, each of which is a process
FINAL_STATES = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}

# munge tells whom a command comes from; linuxproc and task/none need no cgroups, which containers often lack;
# a job that is requeued starts again when its credentials have expired.
CONFIGURATION = """
ClusterName=test
SlurmctldHost=localhost
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/%n
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=1
GresTypes=gpu
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=60 State=UP
"""


@dataclass(frozen=True)
class SlurmCluster:
    """A cluster that is up. Commands run with `environment`, which tells them of it."""

    environment: Mapping[str, str]

    def submit(self, *arguments: str, folder: Path, **environment: str) -> str:
        """Run `sbatch` in `folder`; returns the number of the job."""
        return self.run(
            "sbatch", "--parsable", *arguments, cwd=folder, env={**self.environment, **environment}
        )

    def run(self, *command: str, **options) -> str:
        """What a Slurm command prints, such as `scancel` or `scontrol`."""
        options = {"env": self.environment} | options
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def show(self, job: str) -> list[dict[str, str]]:
        """What is known of a job: a record for each task of an array, else one."""
        lines = self.run("scontrol", "--oneliner", "show", "job", job).splitlines()
        return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]

    def wait(self, job: str, limit: float) -> list[dict[str, str]]:
        """Wait until a job, or all tasks of an array, ended, at most `limit` seconds; returns `show`."""
        wait_until(lambda: {record["JobState"] for record in self.show(job)} <= FINAL_STATES, limit, ASKING)
        return sorted(self.show(job), key=lambda record: int(record.get("ArrayTaskId", 0)))


def wait_until(condition: Callable[[], bool], limit: float, pause: float = 0.05) -> None:
    """Ask again and again, with pauses of seconds, at most `limit` seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit:g} s"
        time.sleep(pause)


@contextlib.contextmanager
def slurm_cluster(*, cpus: int, gpus: int = 0) -> Iterator[SlurmCluster]:
    """Start a cluster, and stop all of it in the end, whatever happened.

    Args:
        cpus: Of each of the two nodes, which need not be there.
        gpus: Of each of the two nodes, at most 3; Slurm hands them out, and there is nothing behind them.
    """
    # not below pytest's folder: the path of a socket must be short
    with tempfile.TemporaryDirectory(prefix="slurm-") as name:
        folder = Path(name)
        environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
        cluster = SlurmCluster(environment)
        _write_configuration(folder, cpus, gpus)
        try:
            _start_munged(folder, environment)
            _start(folder, "slurmctld", "-D", environment=environment)
            for node in NODES:
                _start(folder, "slurmd", "-D", "-N", node, environment=environment)
            wait_until(lambda: _all_idle(cluster), START_LIMIT, ASKING)
            yield cluster
        except BaseException:
            _print_logs(folder)
            raise
        finally:
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                cluster.run("scancel", f"--user={getpass.getuser()}")
                wait_until(lambda: not cluster.run("squeue", "--noheader"), STOP_LIMIT, ASKING)
            _stop_everything(folder)


def link_checkout(root: Path, folder: Path, virtual_environment: Path) -> Path:
    """Make `folder` a checkout to submit jobs from; no log and no result of theirs lands in `root`."""
    folder.mkdir()
    for path in root.iterdir():
        if not path.name.startswith(".") and path.name not in ("data", "runs"):
            (folder / path.name).symlink_to(path)
    (folder / ".venv").symlink_to(virtual_environment)
    return folder


def _write_configuration(folder: Path, cpus: int, gpus: int) -> None:
    controller_port, *ports = _free_ports(1 + len(NODES))
    nodes = [
        f"NodeName={node} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory=4096 State=UNKNOWN"
        + (f" Gres=gpu:{gpus}" if gpus else "")
        for node, port in zip(NODES, ports, strict=True)
    ]
    text = CONFIGURATION.format(
        folder=folder, controller_port=controller_port, user=getpass.getuser(), nodes="\n".join(nodes)
    )
    (folder / "slurm.conf").write_text(text)
    version = subprocess.run(["slurmd", "-V"], capture_output=True, text=True, check=True).stdout.split()[-1]
    if tuple(int(part) for part in version.split(".")[:2]) >= (23, 11):  # unknown before, and not needed
        (folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
    if gpus:
        files = ",".join(DEVICES[:gpus])
        (folder / "gres.conf").write_text(f"NodeName={','.join(NODES)} Name=gpu File={files}\n")
    for name in ("state", *NODES):
        (folder / name).mkdir()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _start_munged(folder: Path, environment: Mapping[str, str]) -> None:
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(1024))
    files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "seed", "log")]
    # --force: a folder below /tmp counts as insecure
    _start(
        folder,
        "munged",
        "--foreground",
        "--force",
        f"--socket={folder}/munge.socket",
        *files,
        environment=environment,
    )
    wait_until((folder / "munge.socket").exists, START_LIMIT)


def _start(folder: Path, *command: str, environment: Mapping[str, str]) -> None:
    with (folder / "daemons.log").open("a") as log:
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)


def _all_idle(cluster: SlurmCluster) -> bool:
    done = subprocess.run(
        ["sinfo", "--noheader", "--Node", "--format=%T"],
        env=cluster.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.split() == ["idle"] * len(NODES)


def _print_logs(folder: Path) -> None:
    print((folder / "daemons.log").read_text(errors="replace")[-5000:])


def _stop_everything(folder: Path) -> None:
    """End the daemons and whatever is left of the jobs."""
    import psutil

    for ask in (psutil.Process.terminate, psutil.Process.kill):
        processes = [process for process in psutil.process_iter() if _belongs_to(process, folder)]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                ask(process)
        psutil.wait_procs(processes, timeout=STOP_LIMIT)


def _belongs_to(process: "psutil.Process", folder: Path) -> bool:
    """Whether a process was told of the cluster in `folder`, or, as slurmstepd, writes its log there."""
    import psutil

    try:
        return process.environ().get("SLURM_CONF") == str(folder / "slurm.conf") or any(
            Path(file.path).is_relative_to(folder) for file in process.open_files()
        )
    except psutil.Error:  # gone, or another user's
        return False
