"""sweep.py: a sweep that is killed goes on, a run that fails is told, and the best one is to be tested."""

import os
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.support.training_runs import ROOT, losses, read_json, steps_done
from tests.support.warm_processes import kill_all, start_warm

MOST_STEPS = 16


def write_recipe(path: Path, dataset: Path) -> Path:
    """A run of a few steps, each saved, and an evaluation at the end."""
    recipe = {"dataset": [str(dataset)], "language": "it", "report_to": ["none"], "save_steps": 1}
    recipe |= {"max_steps": MOST_STEPS, "eval_steps": MOST_STEPS, "logging_steps": 1}
    recipe |= {"per_device_train_batch_size": 1, "max_eval_samples": 2, "generation_max_length": 8}
    path.write_text(yaml.safe_dump(recipe))
    return path


def wait_for_steps(number: int, run: Path, log: Path) -> None:
    for _ in range(1200):
        if steps_done(run) >= number:
            return
        time.sleep(0.05)
    pytest.fail(log.read_text()[-3000:])


@pytest.mark.slow
def test_a_sweep_goes_on_after_signals_and_kills_and_a_failed_run_stops_no_other(
    brief_whisper, prepared, tmp_path
):
    """Three models: one, one that is not there, and the first by another name."""
    (tmp_path / "link").symlink_to(brief_whisper)
    grid = f"model_name_or_path={brief_whisper},{tmp_path}/absent,{tmp_path}/link"
    words = ["--recipe", str(write_recipe(tmp_path / "recipe.yaml", prepared)), "--accelerate_config", "cpu"]
    words = ["tests/fixtures/sweep_warm.py", *words, "--grid", grid, "--output_dir", str(tmp_path / "sweep")]
    names = (str(path).replace("/", "-") for path in (brief_whisper, tmp_path / "link"))
    first, last = (tmp_path / f"sweep/model_name_or_path={name}" for name in names)
    log = tmp_path / "log"

    process = start_warm(words, log, cwd=ROOT, env=os.environ)
    wait_for_steps(2, first, log)
    process.terminate()
    process.join(100)
    assert process.exitcode == 75 and read_json(first / "interrupted.json")["step"] < MOST_STEPS
    assert "Run the same command again to continue" in log.read_text() and "Run 2" not in log.read_text()

    process = start_warm(words, log, cwd=ROOT, env=os.environ)
    wait_for_steps(4, last, log)
    kill_all([process])
    done, finished = losses(last), (first / "final/model.safetensors").stat().st_mtime_ns
    assert len(done) < MOST_STEPS and not (last / "final").exists()

    before = log.stat().st_size
    process = start_warm(words, log, cwd=ROOT, env=os.environ)
    process.join(300)
    said = log.read_bytes()[before:].decode()
    assert process.exitcode == 2  # for the one that fails
    assert (first / "final/model.safetensors").stat().st_mtime_ns == finished
    assert "continuing from step" in said and losses(last)[:3] == done[:3] != []
    assert [value[1] for value in losses(last)] == [value[1] for value in losses(first)]  # the same weights
    assert f"Runs that failed: model_name_or_path {tmp_path}/absent" in said and "Run 2 of 3 failed" in said
    rows = (tmp_path / "sweep/sweep.csv").read_text(encoding="utf-8-sig").splitlines()
    assert len(rows) == 3 and str(first) in rows[1] and str(last) in rows[2]
    assert f"--models {brief_whisper} {first}/best --dataset {prepared}" in said


def test_make_passes_flags_in_upper_case_on():
    words = [
        "make",
        "--dry-run",
        "sweep",
        "NAME=starter",
        "LEARNING_RATE=1e-5 2e-5",
        "LORA_R=8,16",
        "CONFIG=cpu",
    ]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.replace(
        "\\\n", ""
    )
    call = " ".join(said.split("sweep.py")[1].split())
    assert call.startswith(
        "--recipe recipes/starter.yaml --grid 'LEARNING_RATE=1e-5 2e-5' 'LORA_R=8,16' --accelerate_config cpu"
    )
    assert "preprocess.py --config recipes/starter.preprocess.yaml" in said
    bare = subprocess.run(["make", "-n", "sweep"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert bare.returncode and "Give flags of train.py in upper case" in bare.stderr
