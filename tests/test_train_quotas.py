"""train.py within hours, bytes and the life of a machine."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import train
from tests.support.training_runs import ROOT, losses, read_json, read_metrics, values_of
from utils.runtime.errors import UserError, WriteError
from utils.runtime.launch import _launcher_asks_for_gpu
from utils.training import clock, hours

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


@pytest.fixture
def command(brief_whisper, prepared, tmp_path):
    """A function that gives the arguments of a run; later ones override them."""

    def arguments(*more: str, run: str = "run") -> list[str]:
        base = f"--model_name_or_path {brief_whisper} --dataset {prepared} --language it --report_to none"
        base += " --max_steps 9 --eval_steps 0 --save_steps 0 --logging_steps 1 --learning_rate 1e-3"
        return f"{base} --warmup_steps 0 --output_dir {tmp_path / run} {' '.join(more)}".split()

    return arguments


# ---- --max_hours -------------------------------------------------------------------------------------------


def test_a_run_of_seconds_ends_in_time_with_its_schedule_at_the_end(command, tmp_path, monkeypatch, capsys):
    """In seconds of the processor, as others use the machine too. A looser bound than hours have."""
    seconds = 4.0
    options = [f"--max_hours {seconds / 3600}", "--max_steps 100000", "--eval_steps 40", "--save_steps 40"]
    train.main(command("--max_steps 1", "--eval_steps 1", run="warm"))  # libraries are imported now
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=time.process_time))
    started = time.process_time()
    train.main(command(*options))
    took = time.process_time() - started
    assert 0.8 * seconds < took < 1.4 * seconds
    records = read_metrics(tmp_path / "run")
    last = records[-1]["step"]
    planned = values_of(tmp_path / "run", "planned_steps")
    assert planned[-1] == last and f"{last:,} steps fit into" in capsys.readouterr().out
    rates = values_of(tmp_path / "run", "learning_rate")
    assert max(rates) > 0.9e-3 and rates[-1] == 0  # the rate after the last step
    assert {path.name for path in (tmp_path / "run").glob("*-*")} >= {f"checkpoint-{last}"}
    assert "eval_wer" in records[-1] and (tmp_path / "run/final").is_dir()


@pytest.fixture
def planned(monkeypatch) -> Callable[[dict[int, int]], None]:
    """A function that says at which step which number of steps is chosen, in place of the clock."""

    def plan(choices: dict[int, int]) -> None:
        monkeypatch.setattr(
            hours, "choose_total_steps", lambda run: choices.get(run.state.step, run.total_steps)
        )

    return plan


def test_a_resumed_run_keeps_the_schedule_that_was_chosen(command, planned, tmp_path):
    """Killed after step 5, when no save was due, it goes on from the checkpoint of the choice, at step 3."""
    options = ["--max_hours 1", "--save_steps 100"]
    planned({3: 6})
    train.main(command(*options, run="straight"))
    straight = tmp_path / "straight"
    assert [record["step"] for record in read_metrics(straight) if "loss" in record] == [1, 2, 3, 4, 5, 6]
    # 9 steps were planned: a third is done at step 3, and the other two thirds go in three steps
    expected = [1 - share for share in (1 / 9, 2 / 9, 3 / 9, 5 / 9, 7 / 9, 1)]
    assert values_of(straight, "learning_rate") == pytest.approx([1e-3 * rate for rate in expected])
    run = shutil.copytree(straight, tmp_path / "run")
    for name in ("final", "checkpoint-6"):
        shutil.rmtree(run / name)
    state = read_json(run / "checkpoint-3/trainer_state.json")["state"]
    assert state["schedule_change"] == {"step": 3, "progress": 3 / 9, "total_steps": 6}
    planned({})
    train.main(command(*options))
    assert losses(run) == losses(straight)
    assert values_of(run, "learning_rate") == values_of(straight, "learning_rate")
    # without the limit, the schedule is that of the arguments again
    train.main(command("--save_steps 100", "--resume_from_checkpoint latest"))
    assert values_of(run, "learning_rate")[6:] == pytest.approx([1e-3 * rate for rate in (2 / 9, 1 / 9, 0)])


def test_the_hours_of_a_run_are_saved_and_counted(command, planned, tmp_path, monkeypatch):
    planned({})
    train.main(command("--max_hours 1", "--save_steps 9"))
    path = tmp_path / "run/checkpoint-9/trainer_state.json"
    used = read_json(path)["state"]["seconds_used"]
    assert 0 < used < 60
    found = []
    monkeypatch.setattr(
        hours, "choose_total_steps", lambda run: found.append(run.clock.elapsed) or run.total_steps
    )
    record = read_json(path)
    record["state"]["seconds_used"] = 1800.0
    path.write_text(json.dumps(record))
    shutil.rmtree(tmp_path / "run/final")
    train.main(
        command("--max_hours 1", "--save_steps 9", "--max_steps 12", "--resume_from_checkpoint latest")
    )
    assert all(1800 < seconds < 1860 for seconds in found) and found


def test_adalora_and_a_limit_of_hours_are_refused(command):
    with pytest.raises(UserError, match="max_hours: not with adalora"):
        train.main(command("--max_hours 1", "--use_peft", "--peft_type adalora"))


# ---- --mirror_dir ------------------------------------------------------------------------------------------


def test_a_lost_run_folder_comes_back_from_the_mirror(command, tmp_path, capsys):
    """Told to stop after step 4, then deleted; best/ and the averaged snapshots come back as well."""
    options = ["--save_steps 2", "--eval_steps 2", "--average_checkpoints 2", "--max_steps 6"]
    train.main(command(*options, run="straight"))
    mirrored = [*options, f"--mirror_dir {tmp_path / 'drive'}"]
    hook = stop_in_update(4)
    with hook, pytest.raises(SystemExit) as left:
        train.main(command(*mirrored))
    assert left.value.code == 75
    shutil.rmtree(tmp_path / "run")
    train.main(command(*mirrored, "--resume_from_checkpoint latest"))
    assert "Fetching the run from" in capsys.readouterr().out
    run, straight = tmp_path / "run", tmp_path / "straight"
    assert losses(run) == losses(straight) and len(losses(run)) > 6
    for name in ("averaging.json", "best/train_results.json", "best/model.safetensors"):
        assert (run / name).read_bytes() == (straight / name).read_bytes()
        assert (tmp_path / "drive" / name).read_bytes() == (straight / name).read_bytes()
    assert (tmp_path / "drive/final/model.safetensors").is_file()
    assert [path.name for path in (tmp_path / "drive").glob("checkpoint-*")] == ["checkpoint-6"]


@contextmanager
def stop_in_update(number: int) -> Iterator[None]:
    """Send SIGTERM in the update of that number."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    seen = []

    def act(*_) -> None:
        seen.append(1)
        if len(seen) == number:
            os.kill(os.getpid(), signal.SIGTERM)

    hook = register_optimizer_step_post_hook(act)
    try:
        yield
    finally:
        hook.remove()


def test_a_mirror_of_other_arguments_is_refused_and_kept(command, tmp_path):
    mirror = tmp_path / "drive"
    mirror.mkdir()
    (mirror / "train.yaml").write_text("learning_rate: 0.5\n")
    with pytest.raises(
        UserError, match=r"drive holds a run with other arguments: .*learning_rate: 0.5 there"
    ):
        train.main(command(f"--mirror_dir {mirror}"))
    assert [path.name for path in mirror.iterdir()] == ["train.yaml"]


@pytest.mark.parametrize(
    ("mirror", "message"),
    [
        ("RUN/copy", "mirror_dir .*: expected a folder outside of output_dir"),
        ("RUN/../not/mounted", "the folder .*not does not exist. Mount the disk"),
    ],
)
def test_a_mirror_that_cannot_be_is_told_before_training(command, tmp_path, mirror, message):
    with pytest.raises(UserError, match=message):
        train.main(command(f"--mirror_dir {mirror.replace('RUN', str(tmp_path / 'run'))}"))


def test_a_mirror_that_is_gone_does_not_stop_a_run(command, tmp_path, capsys):
    (tmp_path / "drive").write_text("not a folder")
    train.main(command(f"--mirror_dir {tmp_path / 'drive'}", "--save_steps 2", "--max_steps 3"))
    assert "drive could not be updated" in capsys.readouterr().out
    assert (tmp_path / "run/final").is_dir()


# ---- --disk_budget -----------------------------------------------------------------------------------------


class Watcher(threading.Thread):
    """Looks all the time at how large a folder is, and keeps the largest size."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.most, self.looks, self.ended = folder, 0, 0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.002):
            self.most = max(self.most, self.size())
            self.looks += 1

    def size(self) -> int:
        sizes = {}
        for parent, _, names in os.walk(self.folder):
            for name in names:
                try:
                    status = Path(parent, name).stat()
                except OSError:
                    continue
                sizes[status.st_ino] = status.st_size
        return sum(sizes.values())


def test_a_budget_is_never_passed(command, tmp_path, capsys):
    """It has room for one checkpoint (4.5 MB) and the next, and the folders (1.8 MB) that are averaged."""
    options = ["--save_steps 1", "--eval_steps 1", "--average_checkpoints 2", "--save_total_limit 4"]
    options += [f"--mirror_dir {tmp_path / 'drive'}", "--max_steps 6"]
    with pytest.raises(UserError, match=r"disk_budget 9M: .*run needs ([\d.]+) MB at its fullest") as told:
        train.main(command(*options, "--disk_budget 9M"))
    assert not list((tmp_path / "run").glob("[!.]*"))
    needed = float(re.search(r"needs ([\d.]+) MB", str(told.value))[1])
    budget = needed + 1
    watcher = Watcher(tmp_path / "run")
    watcher.start()
    train.main(command(*options, f"--disk_budget {budget}M"))
    watcher.ended.set()
    watcher.join()
    assert watcher.looks > 50 and 10e6 < watcher.most <= budget * 1e6
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-6"]
    assert (tmp_path / "run/averaging.json").is_file()
    assert "keeps 1 checkpoint instead of 4" in capsys.readouterr().out


def test_a_budget_that_others_have_used_skips_checkpoints_and_goes_on(command, tmp_path, capsys):
    """A file of the user lies in the run folder: no checkpoint fits, but the models do."""
    with pytest.raises(UserError) as told:
        train.main(command("--save_steps 2", "--disk_budget 1M"))
    needed = float(re.search(r"needs ([\d.]+) MB", str(told.value))[1]) + 1
    (tmp_path / "run/mine").write_bytes(bytes(int((needed - 4) * 1e6)))
    train.main(command("--save_steps 2", "--max_steps 3", f"--disk_budget {needed}M"))
    assert "the checkpoint could not be written: the disk, or disk_budget, has" in capsys.readouterr().out
    assert (tmp_path / "run/final").is_dir() and not list((tmp_path / "run").glob("checkpoint-*"))
    shutil.rmtree(tmp_path / "run/final")
    (tmp_path / "run/mine").write_bytes(bytes(int((needed - 1) * 1e6)))
    with pytest.raises(WriteError, match="final could not be written: the disk, or disk_budget, has"):
        train.main(command("--max_steps 1", f"--disk_budget {needed}M"))


@pytest.mark.parametrize("size", ["12", "many", "0G"])
def test_a_budget_is_a_size(command, size):
    with pytest.raises(UserError, match=f"disk_budget {size}: expected a size such as 800M"):
        train.main(command(f"--disk_budget {size}"))


# ---- --dry_run ---------------------------------------------------------------------------------------------


def test_a_dry_run_names_device_and_precision_first_and_counts_what_fits(command, monkeypatch, capsys):
    train.main(command("--dry_run", "--max_hours 1e-6", "--max_steps 100000"))
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    assert lines[0].startswith(f"Dry run on 1 x {device}, precision float32")
    total = next(line for line in lines if "total steps" in line)
    assert int(re.search(r"│ +([\d,]+) +│", total)[1].replace(",", "")) < 100


def test_a_dry_run_for_a_gpu_stops_where_there_is_none(command, monkeypatch, capsys):
    if torch.accelerator.is_available():
        pytest.skip("this machine has an accelerator")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "False")  # as `accelerate launch` tells use_cpu: false
    with pytest.raises(UserError, match=r"asks for a GPU .*/cpu.yaml"):
        train.main(command("--dry_run"))


@pytest.mark.parametrize(
    ("config", "asks"), [("multi_gpu", True), ("cpu_2_processes", False), ("none", False)]
)
def test_what_a_launcher_of_several_processes_asks_for(config, asks, monkeypatch):
    """It says so in its configuration alone, which its command line names."""
    words = [
        sys.executable,
        "-c",
        "print(flush=True); input()",
        "--config_file",
        str(ROOT / f"accelerate_configs/{config}.yaml"),
    ]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as launcher:
        assert launcher.stdout and launcher.stdout.readline()  # before it runs, its command line is empty
        monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
        monkeypatch.setattr(os, "getppid", lambda: launcher.pid)
        assert _launcher_asks_for_gpu() is asks
        launcher.kill()
