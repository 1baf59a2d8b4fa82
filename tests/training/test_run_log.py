"""metrics.jsonl on a full disk and after a resume; how processes part."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch.distributed.elastic.utils.distributed import get_free_port

from utils.training.run_log import RunLog

ROOT = Path(__file__).parents[2]


@pytest.fixture
def accelerator():
    AcceleratorState._reset_state(reset_partial_state=True)
    yield Accelerator(cpu=True)
    AcceleratorState._reset_state(reset_partial_state=True)


def read(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_a_full_disk_refuses_is_written_later_and_no_half_line_stays(accelerator, small_disk, capsys):
    disk = small_disk(64 << 10)
    path = disk / "metrics.jsonl"
    log = RunLog(disk, accelerator)
    log.write(1, loss=1.0)
    filler = disk / "filler"
    with filler.open("wb") as file:
        file.write(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))
    for step in range(2, 200):  # beyond the block that the file has already
        log.write(step, loss=1.0, note="a" * 100)
    assert "metrics.jsonl or a tracker could not be written: No space left" in capsys.readouterr().out
    before = read(path)
    assert [record["step"] for record in before] == list(range(1, len(before) + 1)) and len(before) < 199
    filler.unlink()
    log.write(200, loss=1.0)
    assert [record["step"] for record in read(path)] == list(range(1, 201))


def test_a_resumed_run_forgets_what_it_will_write_again(accelerator, tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = RunLog(tmp_path, accelerator)
    for step in (1, 2, 3):
        log.write(step, loss=1.0)
        log.write(step, eval_wer=0.5)
    path.write_text(path.read_text() + '{"step": 4, "lo')
    log.drop_after(2, evaluated_step=2)
    assert [(record["step"], "loss" in record) for record in read(path)] == [
        (1, True),
        (1, False),
        (2, True),
        (2, False),
    ]
    log.drop_after(2, evaluated_step=1)  # left before the evaluation, which is done again
    assert [(record["step"], "loss" in record) for record in read(path)] == [(1, True), (1, False), (2, True)]


def test_the_file_stays_json_where_numbers_are_not_finite(accelerator, tmp_path):
    log = RunLog(tmp_path, accelerator)
    log.write(1, loss=math.nan, grad_norm=math.inf, note="x", count=2)
    assert read(tmp_path / "metrics.jsonl") == [
        {"step": 1, "loss": None, "grad_norm": None, "note": "x", "count": 2}
    ]


def test_processes_that_part_right_after_a_reduction_wait_for_no_one(tmp_path):
    """With the process group freed by the model, the second or third parting out of 20 never ended."""
    command = [sys.executable, str(ROOT / "tests/fixtures/ending_often.py"), str(tmp_path), "20"]
    known = {"OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}
    known["MASTER_PORT"] = str(get_free_port())
    pair = [
        subprocess.Popen(
            command,
            env=os.environ | known | {"RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    for process in pair:
        output, error = process.communicate(timeout=200)
        assert process.returncode == 0, error
        assert output.count("parted 20 times") == 1
