"""A memory limit that is really there, and a dry run beside the run itself."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.training_runs import read_metrics

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wide_whisper(tiny_whisper, tmp_path_factory) -> Path:
    """The tiny Whisper, twice as wide, so that what a clip takes stands out."""
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    folder = Path(shutil.copytree(tiny_whisper, tmp_path_factory.mktemp("wide") / "whisper"))
    tiny = WhisperForConditionalGeneration.from_pretrained(folder)
    shape = dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4)
    shape |= {"encoder_ffn_dim": 512, "decoder_ffn_dim": 512, "d_model": 128}
    torch.manual_seed(0)
    wide = WhisperForConditionalGeneration(WhisperConfig(**(tiny.config.to_dict() | shape)))
    wide.generation_config = tiny.generation_config
    wide.generation_config._from_model_config = False
    wide.save_pretrained(folder)
    return folder


def run(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mapped memory on Linux alone")
def test_what_was_found_runs_for_an_epoch_under_a_cap_and_a_batch_30_percent_larger_does_not(
    wide_whisper, prepared, tmp_path
):
    base = f"--model_name_or_path {wide_whisper} --dataset {prepared} --language it --report_to none"
    base += " --audio_context full --num_train_epochs 1 --eval_steps 0 --save_steps 0 --memory low"

    def train_under(cap: str, name: str, *more: object) -> subprocess.CompletedProcess:
        words = [*base.split(), "--output_dir", str(tmp_path / name), *map(str, more)]
        return run("tests/fixtures/train_under_cap.py", cap, *words)

    first = train_under("+2000000000", "found", "--auto_find_batch_size", "--per_device_train_batch_size", 40)
    assert first.returncode == 0, first.stderr[-3000:]
    found = json.loads((tmp_path / "found/micro_batches.json").read_text())
    clips, cap = found["clips"][-1], re.search(r"cap (\d+)", first.stdout)[1]
    larger = math.ceil(1.3 * clips)
    assert found["limit"]["name"] == "RLIMIT_DATA" and larger / clips < 1.45

    def epoch(size: int) -> subprocess.CompletedProcess:
        limits = ["--per_device_train_batch_size", size, "--micro_batch_seconds", 30 * size]
        return train_under(cap, f"of-{size}", *limits)

    outcomes = {size: epoch(size) for size in (clips, larger)}
    print(f"\ncap {int(cap) / 1e6:,.0f} MB, expected {found['peak_bytes'] / 1e6:,.0f} MB")
    for size, outcome in outcomes.items():
        last = (outcome.stderr.strip().splitlines() or [""])[-1]
        print(f"{size} clips of 30 s: exit code {outcome.returncode} {last if outcome.returncode else ''}")
    assert outcomes[clips].returncode == 0, outcomes[clips].stderr[-3000:]
    assert outcomes[larger].returncode == 2 and "memory ran out" in outcomes[larger].stderr


def test_not_one_clip_under_a_cap_is_one_clear_error(wide_whisper, prepared, tmp_path):
    words = f"--model_name_or_path {wide_whisper} --dataset {prepared} --language it --report_to none"
    words += f" --audio_context full --auto_find_batch_size --output_dir {tmp_path / 'run'}"
    done = run("tests/fixtures/train_under_cap.py", "+1300000000", *words.split())
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "not even one clip of 30 s" in done.stderr and "--gradient_checkpointing" in done.stderr


def test_two_processes_find_the_same(tiny_whisper, prepared, tmp_path):
    words = f"--model_name_or_path {tiny_whisper} --dataset {prepared} --language it --report_to none"
    words += " --max_steps 4 --eval_steps 0 --logging_steps 1 --per_device_train_batch_size 4"
    launch = f"-m accelerate.commands.launch --config_file {ROOT}/accelerate_configs/cpu_2_processes.yaml"
    both = [*launch.split(), "train.py", *words.split(), "--output_dir"]
    for name, how in (("set", ["--micro_batch_seconds", "1000"]), ("found", ["--auto_find_batch_size"])):
        done = run(*both, str(tmp_path / name), *how)
        assert done.returncode == 0, done.stderr[-3000:]
    assert set(json.loads((tmp_path / "found/micro_batches.json").read_text())["clips"]) == {4}
    one, other = read_metrics(tmp_path / "set"), read_metrics(tmp_path / "found")
    assert [(r["loss"], r["order"]) for r in one] == [(r["loss"], r["order"]) for r in other]


@pytest.mark.alone
def test_a_dry_run_is_near_the_run(wide_whisper, prepared, tmp_path):
    """Time within half, as other jobs may come and go; memory within a quarter, as holes grow over a run."""
    words = f"--model_name_or_path {wide_whisper} --dataset {prepared} --language it --report_to none"
    words += f" --max_steps 40 --eval_steps 0 --logging_steps 1 --output_dir {tmp_path / 'run'}"
    dry = run("train.py", *words.split(), "--dry_run")
    assert dry.returncode == 0, dry.stderr[-3000:]
    seconds = float(re.search(r"training +│ +([\d.]+) s", dry.stdout)[1])
    memory = 1e9 * float(re.search(r"peak memory +│ +([\d.]+) GB", dry.stdout)[1])
    real = run("train.py", *words.split())
    assert real.returncode == 0, real.stderr[-3000:]
    last = read_metrics(tmp_path / "run")[-1]
    took = last["audio_seconds"] / last["audio_seconds_per_second"]
    peak = last["peak_memory_bytes"]
    print(
        f"\ntraining {seconds:.0f} s, really {took:.1f} s; {memory / 1e9:.2f} GB, really {peak / 1e9:.2f} GB"
    )
    assert seconds == pytest.approx(took, rel=0.5)
    assert memory == pytest.approx(peak, rel=0.25)
