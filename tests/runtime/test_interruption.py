"""Signals are remembered; a second Ctrl-C ends at once; the word for the launcher's script."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from utils.runtime import interruption
from utils.runtime.interruption import forget_interruption, note_interruption, remembering_signals

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
def test_a_signal_is_remembered_told_once_and_the_handlers_come_back(name, capfd):
    before = signal.getsignal(getattr(signal, name))
    with remembering_signals() as request:
        assert request.reason is None
        os.kill(os.getpid(), getattr(signal, name))
        os.kill(os.getpid(), signal.SIGTERM)  # launchers tell again
        assert request.reason == name
    assert signal.getsignal(getattr(signal, name)) == before
    assert capfd.readouterr().err.count("after the current step is finished") == 1


def test_ctrl_c_passed_on_by_a_launcher_counts_once_and_pressed_again_it_ends_at_once(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(interruption.time, "monotonic", lambda: now[0])
    with remembering_signals() as request:
        os.kill(os.getpid(), signal.SIGINT)
        now[0] += 0.95
        try:  # the terminal tells all processes, then torchrun tells its own
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            pytest.fail("taken for a second Ctrl-C")
        assert request.reason == "SIGINT"
        now[0] += 0.1
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_launcher_that_is_gone_is_noticed(tmp_path):
    """`kill` on `accelerate launch` ends the launcher alone."""
    answer = tmp_path / "answer"
    watch = f"""
import time
from pathlib import Path
from utils.runtime.interruption import StopRequest
request = StopRequest()
Path({str(answer)!r} + ".ready").touch()
while request.reason is None:
    time.sleep(0.01)
Path({str(answer)!r}).write_text(request.reason)
"""
    launcher = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {watch!r}])"
    environment = os.environ | {"ACCELERATE_MIXED_PRECISION": "no"}
    process = subprocess.Popen([sys.executable, "-c", launcher], cwd=ROOT, env=environment)
    wait_for(answer.with_name("answer.ready"))
    process.kill()
    process.wait()
    wait_for(answer)
    time.sleep(0.1)
    assert answer.read_text() == "the launcher has ended"


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_word_for_a_script_that_waits(tmp_path):
    forget_interruption(tmp_path)  # none there: no error
    note_interruption(tmp_path, 12, "SIGUSR1")
    marker = tmp_path / "interrupted.json"
    assert json.loads(marker.read_text()) == {"step": 12, "reason": "SIGUSR1", "exit_code": 75}
    forget_interruption(tmp_path)
    assert not marker.exists()
