"""sweep.py: a sweep that is killed goes on, a run that fails is told, and the best one is to be tested."""

import os
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.support.training_runs import ROOT, losses, read_json
from tests.support.warm_processes import kill_all, start_warm


@pytest.fixture
def sweep_words(tiny_whisper, prepared, tmp_path) -> list[str]:
    """Three runs, of which the first cannot be trained: its model is not there."""
    recipe = {"dataset": [str(prepared)], "language": "it", "report_to": ["none"], "max_steps": 60}
    recipe |= {"eval_steps": 60, "save_steps": 2, "logging_steps": 1, "generation_max_length": 8}
    recipe |= {"model_name_or_path": str(tiny_whisper), "per_device_train_batch_size": 2}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    grid = ["learning_rate=1e-3,1e-4", f"model_name_or_path={tmp_path / 'absent'},{tiny_whisper}"]
    words = ["--recipe", str(tmp_path / "recipe.yaml"), "--accelerate_config", "cpu", "--grid", *grid]
    return ["tests/fixtures/sweep_warm.py", *words, "--output_dir", str(tmp_path / "sweep")]


def wait_until(condition, log: Path) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail(log.read_text()[-3000:])


def test_a_killed_sweep_goes_on_and_a_failed_run_stops_no_other(sweep_words, tiny_whisper, tmp_path):
    log, there = tmp_path / "log", str(tiny_whisper).replace("/", "-")
    start = lambda: start_warm(sweep_words, log, cwd=ROOT, env=os.environ)  # noqa: E731
    first, second = (
        tmp_path / f"sweep/learning_rate={rate},model_name_or_path={there}" for rate in ("1e-3", "1e-4")
    )
    process = start()
    wait_until(lambda: any(second.glob("checkpoint-*")), log)
    kill_all([process])
    finished = (first / "final/model.safetensors").stat().st_mtime_ns
    done = losses(second)
    assert 0 < len(done) < 60 and not (second / "final").exists()
    process, before = start(), log.stat().st_size
    process.join(300)
    said = log.read_text()[before:]
    assert process.exitcode == 2  # for the two that fail
    assert (first / "final/model.safetensors").stat().st_mtime_ns == finished
    assert "continuing from step" in said and losses(second)[: len(done) - 3] == done[:-3]
    assert "Run 1 of 4 failed" in said and "Run 3 of 4 failed" in said and "Run 4 of 4: " in said
    assert said.count("Runs that failed: learning_rate 1e-3, model_name_or_path") == 1
    rows = (tmp_path / "sweep/sweep.csv").read_text(encoding="utf-8-sig").splitlines()
    rates = {run: read_json(run / "best/train_results.json")["best_metric"] for run in (first, second)}
    best = min(rates, key=lambda run: rates[run])
    assert len(rows) == 3 and str(best) in rows[1]
    assert f"--models {tiny_whisper} {best}/best --dataset" in said.replace("'", "")


def test_a_sweep_that_is_told_to_stop_stops_its_run_and_starts_no_other(sweep_words, tmp_path):
    log, words = tmp_path / "log", [*sweep_words, "--grid", "learning_rate=1e-3,1e-4"]
    process = start_warm(words, log, cwd=ROOT, env=os.environ)
    run = tmp_path / "sweep/learning_rate=1e-3"
    wait_until(lambda: any(run.glob("checkpoint-*")), log)
    process.terminate()
    process.join(100)
    assert process.exitcode == 75
    assert "Run the same command again to continue" in log.read_text() and "Run 2" not in log.read_text()
    assert read_json(run / "interrupted.json")["step"] < 60


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
