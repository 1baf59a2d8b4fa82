"""Scripts as processes of their own that need not read torch and transformers first: forks of one that has.

A Python process takes seconds to import what a script of a tiny model then uses for tenths of a second, and a
benchmark starts many. What a script does in its process is the same; only OMP_NUM_THREADS, which OpenMP reads
when torch is imported, is that of the tests.
"""

import contextlib
import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import TextIO

import psutil
import pytest

from benchmarks import side_by_side

LIBRARIES = [
    *("torch", "torch._dynamo", "datasets", "accelerate", "accelerate.commands.launch", "soundfile"),
    *("transformers.models.whisper.modeling_whisper", "transformers.models.whisper.processing_whisper"),
    *("transformers.generation.utils", "jiwer", "rich.progress", "soxr", "peft", "av"),
    *("matplotlib.figure", "matplotlib.backends.backend_svg"),
]
LAUNCH = ["-m", "accelerate.commands.accelerate_cli", "launch"]
ROOT = Path(__file__).parents[2]


def start_warm(words: Sequence[str], log: Path, *, cwd: Path, env: Mapping[str, str]) -> BaseProcess:
    """Start a script, or `accelerate launch` of one in one process, with arguments; it writes to `log`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    log.touch()
    child = context.Process(target=_become, args=(list(words), str(cwd), dict(env), str(log)))
    child.start()
    return child


def start_warm_training(config: str, options: Sequence[str], log: Path) -> list[BaseProcess]:
    """Start train.py in a configuration of accelerate_configs/ for CPUs; returns the processes by rank.

    Two of them get from here, instead of torchrun, what tells them of each other.
    """
    if config == "cpu_2_processes":
        from torch.distributed.elastic.utils.distributed import get_free_port

        together = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true"}
        together |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(get_free_port())}
        ranks = [{**os.environ, **together, "RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1")]
        return [start_warm(["train.py", *options], log, cwd=ROOT, env=env) for env in ranks]
    words = [*LAUNCH, "--config_file", f"accelerate_configs/{config}.yaml", "train.py", *options]
    return [start_warm(words, log, cwd=ROOT, env=os.environ)]


def train_warm(config: str, options: Sequence[str], log: Path) -> str:
    """Do so to the end, which must be a good one; returns what `log` then holds."""
    processes = start_warm_training(config, options, log)
    for process in processes:
        process.join(300)
    assert not any(process.exitcode for process in processes), log.read_text()[-3000:]
    return log.read_text()


def kill_all(processes: Sequence[BaseProcess]) -> None:
    """Kill processes and all that they have started, and wait for them."""
    members = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            mother = psutil.Process(process.pid)
            mother.suspend()  # it starts no more
            members += [mother, *mother.children(recursive=True)]
    for member in members:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    for process in processes:
        process.join()


def keep_benchmarks_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `benchmarks.side_by_side` start its scripts so, in this test."""
    stand_in = SimpleNamespace(run=_run_warm, STDOUT=subprocess.STDOUT)
    monkeypatch.setattr(side_by_side, "subprocess", stand_in)


def _run_warm(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdout: TextIO, stderr: int, check: bool
) -> subprocess.CompletedProcess:
    """What `subprocess.run` does."""
    assert command[0] == sys.executable and stderr == subprocess.STDOUT and not check
    child = start_warm(command[1:], Path(stdout.name), cwd=cwd, env=env)
    child.join()
    return subprocess.CompletedProcess(command, child.exitcode or 0)


class WarmPopen:
    """As much of `subprocess.Popen` as sweep.py needs: a fork of this process that becomes the script."""

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str]) -> None:
        assert command[0] == sys.executable
        words = (list(command[1:]), str(ROOT), dict(env), None)
        self._child = multiprocessing.get_context("fork").Process(target=_become, args=words)
        self._child.start()

    def poll(self) -> int | None:
        return self._child.exitcode

    def wait(self, timeout: float) -> None:
        self._child.join(timeout)

    def terminate(self) -> None:
        self._child.terminate()

    @property
    def returncode(self) -> int | None:
        return self._child.exitcode


def _become(words: list[str], folder: str, environment: dict[str, str], log: str | None) -> None:
    """Run the script in this process, which has been forked for it. It writes to `log`, if there is one."""
    if log is not None:
        output = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if words[:3] == LAUNCH:
        words = _launched(words[3:])
    script = Path(words[0]).resolve()
    sys.argv = words
    elsewhere = [path for path in sys.path if path and Path(path).resolve() != Path(folder).resolve()]
    sys.path[:] = [str(script.parent), *elsewhere]
    runpy.run_path(str(script), run_name="__main__")


def _launched(words: list[str]) -> list[str]:
    """The script and its arguments, after what the launcher sets in the environment for one process."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_simple_launcher_cmd_env

    args, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    assert args.num_processes == 1
    command, environment = prepare_simple_launcher_cmd_env(args)
    os.environ.update(environment)
    return command[1:]
