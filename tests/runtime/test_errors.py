"""Which of several processes says what went wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from utils.runtime import errors
from utils.runtime.errors import SECONDS_TO_BE_ENDED, UserError, user_errors_end_the_script

ROOT = Path(__file__).parents[2]

FAILING = """
import os, sys
from utils.runtime.errors import UserError, user_errors_end_the_script
with user_errors_end_the_script():
    raise UserError("found nothing, asked two.")
"""


def test_an_error_of_all_processes_is_told_once(tmp_path):
    """By the first one; the launcher ends the other before it speaks."""
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launch, str(script)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert told == ["error: found nothing, asked two."]
    following = done.stderr.splitlines()[done.stderr.splitlines().index(told[0]) + 1]
    assert following == "A report of the launcher follows. It only repeats this error."
    assert done.stderr.splitlines()[-2].endswith(": found nothing, asked two.")  # after its traceback


@pytest.mark.parametrize(
    ("rank", "waited", "said"),
    [
        (None, [], "error: found nothing.\n"),
        ("0", [], "error: found nothing.\n"),
        ("1", [SECONDS_TO_BE_ENDED], "error: process 1: found nothing.\n"),  # the first one knows of nothing
    ],
)
def test_an_error_of_one_process_is_told_by_it(monkeypatch, capsys, rank, waited, said):
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    waits: list[float] = []
    monkeypatch.setattr(errors.time, "sleep", waits.append)
    with pytest.raises(SystemExit) as ended, user_errors_end_the_script():
        raise UserError("found nothing.")
    assert (ended.value.code, waits, capsys.readouterr().err) == (2, waited, said)


@pytest.mark.parametrize(
    ("package", "is_told"), [("whisper_normalizer", True), ("yaml", True), ("utls", False)]
)
def test_outside_of_the_environment_one_line_says_what_to_install(capsys, package, is_told):
    expected = SystemExit if is_told else ModuleNotFoundError
    with pytest.raises(expected), user_errors_end_the_script():
        raise ModuleNotFoundError(f"No module named '{package}'", name=package)
    assert (f"error: {package}: not installed. Run: make install" in capsys.readouterr().err) is is_told
