"""Real loaders whose workers are killed: replaced once, named in an error when it happens again."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from utils.runtime.errors import UserError
from utils.runtime.workers import outlive_signals, replacing_dead_workers

ROOT = Path(__file__).parents[2]


class Squares(torch.utils.data.Dataset):
    """Squares, by a worker that kills itself at one number as often as there are files to take away."""

    def __init__(self, bullets=(), fatal: int = -1) -> None:
        self._bullets, self._fatal = list(bullets), fatal

    def __getitem__(self, number: int) -> int:
        if number == self._fatal:
            for bullet in self._bullets:
                if bullet.exists():
                    bullet.unlink()
                    os.kill(os.getpid(), signal.SIGKILL)
        return number**2


@pytest.fixture(autouse=True)
def looking_often(monkeypatch):
    """torch looks for dead workers, and waits for those that end, every 5 s: here far more often."""
    from torch.utils.data import _utils
    from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter as Loader

    monkeypatch.setattr(_utils, "MP_STATUS_CHECK_INTERVAL", 0.2)
    monkeypatch.setattr(Loader._try_get_data, "__defaults__", (0.2,))


@pytest.fixture(autouse=True)
def no_worker_is_left() -> Iterator[None]:
    """The traceback of a test that fails holds its workers, which outlive SIGTERM: pytest would not end."""
    before = torch.multiprocessing.active_children()
    yield
    for child in torch.multiprocessing.active_children():
        if child not in before:
            child.kill()


def read_from(dataset: Squares, workers: int = 2):
    def read(first: int):
        numbers = iter(range(first, 8))
        options = {"batch_size": None, "num_workers": workers, "worker_init_fn": outlive_signals}
        yield from torch.utils.data.DataLoader(dataset, sampler=numbers, **options)

    return read


def bullets_in(folder, count: int):
    bullets = [folder / f"bullet-{number}" for number in range(count)]
    for bullet in bullets:
        bullet.touch()
    return bullets


def test_a_killed_worker_is_replaced_and_no_item_is_lost_or_doubled(tmp_path, capsys):
    dataset = Squares(bullets_in(tmp_path, 1), fatal=5)
    assert list(replacing_dead_workers(read_from(dataset), 2)) == [4, 9, 16, 25, 36, 49]
    assert "a worker that reads audio died" in capsys.readouterr().out


def test_workers_that_die_twice_at_a_step_end_the_run_with_the_likely_cause(tmp_path):
    dataset = Squares(bullets_in(tmp_path, 2), fatal=5)
    with pytest.raises(UserError, match=r"died twice at step 6 .*--dataloader_num_workers 0"):
        list(replacing_dead_workers(read_from(dataset, workers=1), 5))


def first_of(items, first: int = 0) -> list[torch.multiprocessing.Process]:
    """Take the first item; returns the workers started for it, whatever else runs in this process."""
    before = {child.pid for child in torch.multiprocessing.active_children()}
    assert next(items) == first**2
    return [child for child in torch.multiprocessing.active_children() if child.pid not in before]


def test_deaths_at_different_steps_end_nothing(capsys):
    """Each beginning but the last breaks off after two items, as if a worker had died there."""

    def read(first: int) -> Iterator[int]:
        yield from range(first, min(first + 2, 6))
        if first + 2 < 6:
            raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed. ")

    assert list(replacing_dead_workers(read, 0)) == list(range(6))
    assert capsys.readouterr().out.count("Starting new workers") == 2


def test_a_death_while_a_step_runs_does_not_break_into_it():
    """torch would raise from its SIGCHLD handler in the middle of whatever runs."""
    items = replacing_dead_workers(read_from(Squares()), 0)
    workers = first_of(items)
    assert len(workers) == 2
    assert not callable(signal.getsignal(signal.SIGCHLD))  # else it raises there, if it comes to look in time
    worker = psutil.Process(workers[0].pid)
    worker.kill()
    deadline = time.monotonic() + 10
    while worker.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.01)  # the step that runs: SIGCHLD comes in it
    assert worker.status() == psutil.STATUS_ZOMBIE
    assert list(items) == [number**2 for number in range(1, 8)]


def test_signals_for_the_whole_group_leave_the_workers_alive(capsys):
    items = replacing_dead_workers(read_from(Squares()), 0)
    workers = first_of(items)
    assert len(workers) == 2 and next(items) == 1  # from the second worker: both have begun
    for worker in workers:
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            os.kill(worker.pid, number)
    assert list(items) == [number**2 for number in range(2, 8)]
    assert "died" not in capsys.readouterr().out  # nor were they replaced


def test_an_error_nobody_expects_ends_the_process_and_its_workers():
    """The traceback holds the loader; Python would tell its workers by SIGTERM, and wait for them."""
    script = """
        import torch
        from tests.runtime.test_workers import Squares
        from utils.runtime.workers import end_workers_at_exit, outlive_signals

        def read():
            end_workers_at_exit()
            options = {"batch_size": None, "num_workers": 2, "worker_init_fn": outlive_signals}
            numbers = iter(torch.utils.data.DataLoader(Squares(), sampler=range(8), **options))
            print(*[worker.pid for worker in numbers._workers], flush=True)
            raise RuntimeError("nobody expects this")

        read()
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1 and "nobody expects this" in ended.stderr
    assert "Error in atexit" not in ended.stderr
    assert not any(psutil.pid_exists(int(pid)) for pid in ended.stdout.split())


def test_another_error_of_a_worker_is_passed_on():
    def read(first: int):
        yield first
        raise RuntimeError("a clip cannot be read")

    with pytest.raises(RuntimeError, match="a clip cannot be read"):
        list(replacing_dead_workers(read, 0))
