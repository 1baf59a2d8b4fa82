"""One run to a folder, by the operating system's lock."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.locks import refuse_to_lock
from utils.runtime.errors import UserError
from utils.runtime.locking import sole_holder, sole_run_in, sole_writer_of

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import os, sys, time
from pathlib import Path
from utils.runtime.locking import sole_run_in
with sole_run_in(Path(sys.argv[1])):
    child = os.fork()  # as a loader's worker, which lives on for a while when its parent is killed
    if child == 0:
        time.sleep(30)
        os._exit(0)
    print(child, flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_and_a_killed_one_leaves_no_lock(tmp_path):
    folder = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            refusal = pytest.raises(UserError, match="another run is using this folder")
            with refusal, sole_run_in(folder, patience=0.2):
                pytest.fail("two at once")
            holder.kill()
            holder.wait()
            began = time.monotonic()
            with sole_run_in(folder, patience=2):
                assert time.monotonic() - began < 2
        finally:
            os.kill(child, signal.SIGKILL)


def is_held(folder: Path) -> bool:
    """Whether the operating system refuses the lock to somebody who opens its file anew."""
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_it_is_held_while_the_run_lasts_and_no_longer(tmp_path):
    folder = tmp_path / "run"
    for _ in range(2):
        with sole_run_in(folder, patience=0):
            assert is_held(folder)
        assert not is_held(folder)
    with contextlib.suppress(ZeroDivisionError), sole_run_in(folder, patience=0):
        raise ZeroDivisionError
    assert not is_held(folder)


def test_of_several_processes_the_first_one_holds_it(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    monkeypatch.setenv("RANK", "0")
    with sole_run_in(folder, patience=0):
        monkeypatch.setenv("RANK", "1")
        with sole_run_in(folder, patience=0):
            assert is_held(folder)
        assert is_held(folder)  # still, when the second process has ended
    (folder / ".lock").unlink(missing_ok=True)
    with sole_run_in(folder, patience=0):
        assert not (folder / ".lock").exists()


def test_without_locks_a_run_goes_on_and_leaves_nothing_that_holds_up_the_next(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fcntl, "flock", refuse_to_lock)
    with sole_holder(tmp_path / "lock", "no"), sole_holder(tmp_path / "lock", "no"):
        pass
    told = f"{tmp_path}: this file system has no locks. Make sure that only one run writes here."
    assert capsys.readouterr().out.splitlines() == [told, told]


def test_of_a_lock_beside_what_is_written_nothing_is_left(tmp_path):
    path = tmp_path / "deep" / "er" / "out"
    with sole_writer_of(path, "no"), pytest.raises(UserError, match="no"), sole_writer_of(path, "no"):
        pytest.fail("two at once")
    assert list(tmp_path.iterdir()) == []
    with contextlib.suppress(ZeroDivisionError), sole_writer_of(path, "no"):
        path.mkdir()
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with sole_writer_of(path, "no"):
        with pytest.raises(UserError), sole_writer_of(path, "no"):
            pytest.fail("the refused one has deleted the lock")
        path.mkdir()
        (path / "file").touch()
    assert [name.name for name in path.parent.iterdir()] == ["out"]
    (path / "file").unlink()
    with sole_writer_of(path, "no"):
        pass
    assert path.is_dir()  # it was there before
