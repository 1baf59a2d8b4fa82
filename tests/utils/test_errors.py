"""Which of several processes says what went wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FAILING = """
import os, sys, time
from utils.errors import UserError, user_errors_end_the_script
failing = sys.argv[1:]
with user_errors_end_the_script():
    if os.environ["RANK"] in failing:
        raise UserError(f"found nothing, asked {len(failing)}.")
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        (["0"], "error: found nothing, asked 1."),
        (["1"], "error: process 1: found nothing, asked 1."),  # the first one knows of nothing
        (["0", "1"], "error: found nothing, asked 2."),
    ],
)
def test_an_error_is_told_once_by_whichever_process_has_it(tmp_path, failing, said):
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launch, str(script), *failing],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if line.startswith("error:")] == [said]
