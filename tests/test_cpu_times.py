"""`--cpu_times`: the seconds that tests and their processes burn are found again, with xdist and without."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# burns processor time, not waiting time: user and system time of the process are its own clock
BURN = "import time\nwhile time.process_time() < {seconds}: pass"
TESTS = f"""
import multiprocessing, subprocess, sys, time

def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

def test_burns_itself():
    burn(0.1)

def test_waits():
    time.sleep(0.3)

def test_starts_a_process():
    subprocess.run([sys.executable, "-c", "{BURN.format(seconds=0.3)}"], check=True)

def test_starts_a_fork_of_a_server():
    child = multiprocessing.get_context("forkserver").Process(target=burn, args=(0.5,))
    child.start()
    child.join()
    left = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=True)
    left.start()  # it holds the server's pipe, and yet the tests end
""".replace("\nwhile", "\\nwhile")


def run_tests(folder: Path, *options: str) -> tuple[float, dict[str, float]]:
    """CPU-seconds of the whole, and by test, as they are printed."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        *("-p", "tests.support.cpu_times"),
        f"--rootdir={folder}",
    ]
    environment = {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [*command, *options, str(folder)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (minutes,) = re.findall(r"(\d+\.\d+) CPU-minutes", done.stdout)
    costs = re.findall(r"^ +(\d+\.\d) \S+::(\w+)$", done.stdout, re.MULTILINE)
    assert [float(value) for value, _ in costs] == sorted((float(value) for value, _ in costs), reverse=True)
    return 60 * float(minutes), {name: float(value) for value, name in costs}


@pytest.mark.parametrize("workers", [[], ["-p", "xdist.plugin", "--numprocesses=2"]], ids=["alone", "xdist"])
def test_what_is_burnt_is_counted(tmp_path: Path, workers: list[str]):
    (tmp_path / "test_burning.py").write_text(TESTS)
    whole, costs = run_tests(tmp_path, "--cpu_times", "this", *workers)
    assert costs.pop("test_waits") <= 0.1
    least = {"test_burns_itself": 0.1, "test_starts_a_process": 0.3, "test_starts_a_fork_of_a_server": 0.5}
    assert costs.keys() == least.keys()
    assert all(seconds <= costs[name] < seconds + 0.3 for name, seconds in least.items()), costs
    assert whole >= 0.9 - 0.3  # printed in hundredths of a minute


def test_a_run_in_two_parts_is_added_up(tmp_path: Path):
    (tmp_path / "test_burning.py").write_text(TESTS)
    _, first = run_tests(tmp_path, "--cpu_times", "this", "-k", "process")
    whole, both = run_tests(tmp_path, "--cpu_times", "both", "-k", "itself")
    assert both == {**first, "test_burns_itself": both["test_burns_itself"]}
    assert whole >= 0.4 - 0.3


def test_nothing_is_said_unless_asked_for(tmp_path: Path):
    (tmp_path / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
    with pytest.raises(ValueError, match="not enough values"):
        run_tests(tmp_path)
