"""Runs killed and stopped again and again keep the course of one left alone; a job requeues itself."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from torch.distributed.elastic.utils.distributed import get_free_port

from tests.support.training_runs import (
    ROOT,
    assert_same_course,
    losses,
    plant_poison,
    read_metrics,
    steps_done,
)
from tests.support.warm_processes import kill_all, start_warm_training, train_warm

pytestmark = pytest.mark.slow

STEPS = 60
KILLS = 5  # of each config
# A test of a new kind of random draw adds its options here.
OPTIONS = "--use_peft --lora_dropout 0.1 --per_device_train_batch_size 2 --gradient_accumulation_steps 2"
CONFIGS = {"cpu": ["--dataloader_num_workers", "1"], "cpu_2_processes": []}


@pytest.fixture(scope="module")
def prompts(tmp_path_factory, italian_prompts) -> Path:
    """Eight real prompts as a prepared dataset."""
    import io

    import soundfile
    from datasets import Dataset, DatasetDict, Features, Value

    rows = []
    for number, (samples, text) in enumerate(italian_prompts):
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, 16_000, format="FLAC")
        values = {"audio": buffer.getvalue(), "text": text, "duration": len(samples) / 16_000}
        rows.append({"id": f"prompt-{number}", "language": "it", **values})
    types = {"id": "string", "audio": "binary", "text": "string", "duration": "float64", "language": "string"}
    features = Features({name: Value(kind) for name, kind in types.items()})
    dataset = Dataset.from_list(rows, features=features)
    folder = tmp_path_factory.mktemp("prompts") / "it"
    DatasetDict({"train": dataset, "validation": dataset.select([0, 1])}).save_to_disk(folder)
    return folder


@pytest.fixture(scope="module")
def build(tiny_whisper, prompts):
    """A function that gives the options of a run of 60 steps with a checkpoint every third."""

    def options(run: Path) -> list[str]:
        words = f"--model_name_or_path {tiny_whisper} --dataset {prompts} --language it --report_to none"
        words += f" --max_steps {STEPS} --save_steps 3 --logging_steps 1 --learning_rate 1e-3"
        words += " --eval_steps 30 --generation_max_length 20"
        return [*words.split(), *OPTIONS.split(), "--output_dir", str(run)]

    return options


@pytest.fixture(scope="module")
def straight(build, tmp_path_factory):
    """A function that gives a run nobody disturbed."""
    runs: dict[str, Path] = {}

    def run(config: str) -> Path:
        if config not in runs:
            runs[config] = tmp_path_factory.mktemp("straight") / config
            train_warm(config, build(runs[config]), runs[config].with_suffix(".log"))
        return runs[config]

    return run


def wait_for_step(is_running: Callable[[], bool], run: Path, step: int, log: Path) -> None:
    deadline = time.monotonic() + 300
    while steps_done(run) < step:
        assert is_running() and time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.005)


def newest_checkpoint(run: Path) -> int:
    return max((int(path.name.split("-")[1]) for path in run.glob("checkpoint-*")), default=0)


@pytest.mark.parametrize("config", CONFIGS)
def test_kills_change_no_loss(config, build, straight, tmp_path):
    """SIGKILL to all processes at random moments: within steps, while saving, while evaluating.

    After the last kill the machine is lost: an empty run folder goes on from the mirror.
    """
    random_moments = random.Random(config)
    run, log, mirror = tmp_path / "killed", tmp_path / "log", tmp_path / "drive"
    options = [*build(run), *CONFIGS[config], "--mirror_dir", str(mirror)]
    for _ in range(KILLS):
        processes = start_warm_training(config, options, log)
        step = min(newest_checkpoint(run) + random_moments.randint(2, 9), STEPS - 2)
        wait_for_step(processes[0].is_alive, run, step, log)
        time.sleep(random_moments.uniform(0, 0.2))
        kill_all(processes)
    assert newest_checkpoint(run) > KILLS and not (run / "final").exists()
    shutil.rmtree(run)
    said = train_warm(config, [*options, "--resume_from_checkpoint", "latest"], log)
    assert f"Fetching the run from {mirror}" in said
    assert_same_course(straight(config), run)
    assert losses(run) == losses(straight(config))
    assert newest_checkpoint(mirror) == STEPS and (mirror / "final/adapter_model.safetensors").is_file()
    assert said.count("continuing from step") > KILLS / 2


def test_two_processes_agree_when_the_hours_are_over(build, tmp_path):
    """They would wait for each other forever if one did a step more."""
    options = [*build(tmp_path / "run"), "--max_steps", "100000", "--max_hours", str(3 / 3600)]
    train_warm("cpu_2_processes", options, tmp_path / "log")
    records = read_metrics(tmp_path / "run")
    planned = [record["planned_steps"] for record in records if "planned_steps" in record]
    assert planned[-1] == records[-1]["step"] < 100_000


@pytest.mark.parametrize(
    ("config", "ranks"), [("cpu", [0]), *(("cpu_2_processes", ranks) for ranks in ([0, 1], [0], [1]))]
)
def test_stops_by_signal_lose_no_step(config, ranks, build, straight, tmp_path):
    """SIGUSR1 and SIGTERM to all processes, or to one alone; each time the step that runs is saved."""
    run, log = tmp_path / "stopped", tmp_path / "log"
    for number, name in enumerate([signal.SIGUSR1, signal.SIGTERM]):
        processes = start_warm_training(config, [*build(run), *CONFIGS[config]], log)
        wait_for_step(processes[0].is_alive, run, 10 + 20 * number, log)
        for rank in ranks:
            os.kill(processes[rank].pid, name)
        for process in processes:
            process.join(60)
            assert process.exitcode == 75, log.read_text()[-3000:]
        word = json.loads((run / "interrupted.json").read_text())
        assert word["exit_code"] == 75
        assert word["step"] == newest_checkpoint(run) == steps_done(run)
    said = train_warm(config, [*build(run), *CONFIGS[config]], log)
    assert not (run / "interrupted.json").exists()
    assert losses(run) == losses(straight(config))
    assert ": skipped: " not in said


def test_on_two_processes_all_skip_the_step_that_one_finds_poisoned(tiny_whisper, build_prepared, tmp_path):
    data = build_prepared(tmp_path / "data", {"train": 16})
    from datasets import DatasetDict, load_from_disk

    rows = load_from_disk(data)["train"].map(
        lambda row, i: {"text": "a" * 70 if i == 7 else row["text"]}, with_indices=True
    )
    DatasetDict({"train": rows}).save_to_disk(tmp_path / "poisoned")
    model = plant_poison(tiny_whisper, tmp_path / "model", position=60)
    options = f"--model_name_or_path {model} --dataset {tmp_path / 'poisoned'} --language it --max_steps 8"
    options += " --per_device_train_batch_size 2 --eval_steps 0 --save_steps 8 --logging_steps 1"
    options += f" --report_to none --output_dir {tmp_path / 'run'}"
    train_warm("cpu_2_processes", options.split(), tmp_path / "log")
    records = read_metrics(tmp_path / "run")
    skipped = [record for record in records if "skipped_ids" in record]
    assert len(skipped) == 2  # two epochs of four steps
    assert all("train-0007" in record["skipped_ids"].split() for record in skipped)
    later = [record["loss"] for record in records if "loss" in record][-1]
    assert later is None or later == pytest.approx(later)
    assert sum(record["loss"] is not None for record in records if "loss" in record) == 6


@pytest.mark.parametrize("variant", ["", "--use_peft --lora_r 4 --lora_dropout 0"], ids=["whole", "lora"])
@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1)], ids=["one to two", "two to one"])
def test_a_run_goes_on_with_another_number_of_processes(
    tiny_whisper, prompts, tmp_path, variant, first, second
):
    def train(run: str, processes: int, steps: int, *more: str) -> list[float]:
        options = f"--model_name_or_path {tiny_whisper} --dataset {prompts} --language it --report_to none"
        options += (
            f" --max_steps {steps} --save_steps 3 --logging_steps 1 --learning_rate 1e-3 --eval_steps 0"
        )
        options += f" --per_device_train_batch_size {4 // processes} {variant}"
        options += " --lr_scheduler_type constant_with_warmup --warmup_steps 0"
        options += f" --output_dir {tmp_path / run}"
        config = "cpu" if processes == 1 else "cpu_2_processes"
        train_warm(config, [*options.split(), *more], tmp_path / "log")
        return [record["loss"] for record in read_metrics(tmp_path / run)]

    alone = train("alone", 1, 6)
    train("run", first, 3)
    resumed = train("run", second, 6, "--resume_from_checkpoint", "latest")
    assert resumed == pytest.approx(alone, abs=1e-4)


def test_two_runs_into_one_folder_are_refused(build, tmp_path):
    run, log = tmp_path / "run", tmp_path / "log"
    [first] = start_warm_training("cpu", build(run), log)
    wait_for_step(first.is_alive, run, 1, log)
    os.kill(first.pid, signal.SIGSTOP)
    [second] = start_warm_training("cpu", build(run), tmp_path / "second")
    second.join(300)
    kill_all([first])
    assert second.exitcode == 2
    assert "another run is using this folder" in (tmp_path / "second").read_text()


# ---- the batch script, with stand-ins for Slurm's commands -------------------------------------------------

SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
echo $$ > {folder}/step.pid
exec "$@"
"""
SCONTROL = """#!/bin/bash
[ "$1" = show ] && echo localhost
[ "$1" = requeue ] && echo "$2" >> {folder}/requeued
exit 0
"""


def test_the_batch_script_saves_requeues_and_ends(build, straight, tmp_path):
    """Slurm's own part, signals to a step and requeueing, is played by two short scripts."""
    config = "cpu_2_processes"
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (programs / name).write_text(text.format(folder=tmp_path))
        (programs / name).chmod(0o755)
    run, log = tmp_path / "run", tmp_path / "log"
    variables = {"SLURM_SUBMIT_DIR": str(ROOT), "SLURM_NNODES": "1", "SLURM_JOB_NODELIST": "localhost"}
    variables |= {"SLURM_NODEID": "0", "SLURM_JOB_ID": "17", "SLURM_CPUS_PER_TASK": "1", "CONFIG": config}
    variables |= {"SLURM_GPUS_ON_NODE": "2", "PORT": str(get_free_port())}
    variables["PATH"] = f"{programs}:{os.environ['PATH']}"

    def submit() -> subprocess.Popen:
        with log.open("a") as output:
            return subprocess.Popen(
                ["bash", "slurm/train.sbatch", *build(run)],
                cwd=ROOT,
                env=os.environ | variables,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    job = submit()
    wait_for_step(lambda: job.poll() is None, run, 20, log)
    step = psutil.Process(int((tmp_path / "step.pid").read_text()))
    for process in [step, *step.children(recursive=True)]:  # the step's processes, not the batch shell
        process.send_signal(signal.SIGUSR1)
    job.wait(timeout=60)
    assert (tmp_path / "requeued").read_text() == "17\n"
    assert newest_checkpoint(run) == steps_done(run)
    assert submit().wait(timeout=300) == 0
    assert (tmp_path / "requeued").read_text() == "17\n"
    assert losses(run) == losses(straight(config))
